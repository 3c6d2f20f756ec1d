"""Checks Kubernetes manifests against the schemas of Kubernetes and of the Prometheus operator.

Reads YAML documents from stdin. Writes them to stdout as a JSON array. Problems go to stderr, and the exit code is 1.
The arguments are versions of Kubernetes: validate.py 1.29 1.37
"""

import json
import sys

import kubernetes_validate
import yaml

OPERATOR = "monitoring.coreos.com/v1"


def problem_of_operator(document):
    """Its models let unknown members pass: what they don't give back is unknown."""
    # Here, because they take seconds to load.
    from cloudcoil.models.prometheus_operator import v1 as operator

    model = getattr(operator, document["kind"]).model_validate(document)
    kept = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
    if kept != document:
        return f"has members that the schema lacks; it keeps {json.dumps(kept)[:2000]}"
    return None


def problem(document, version):
    if document["apiVersion"] == OPERATOR:
        return problem_of_operator(document)
    kubernetes_validate.validate(document, version, strict=True)
    return None


def main(versions):
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    problems = []
    for document in documents:
        for version in versions:
            where = f"{document.get('kind')} {document.get('metadata', {}).get('name')}, Kubernetes {version}"
            try:
                found = problem(document, version)
            except Exception as error:  # Each library has its own kinds.
                found = str(error).split("\n\nFailed validating")[0]
            if found:
                problems.append(f"{where}: {found}")
    json.dump(documents, sys.stdout)
    print("\n".join(problems), file=sys.stderr, end="")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
