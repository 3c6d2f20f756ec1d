"""The same for documents that are not orders, with names that mean something to Python: URL."""

import json
import sys
import urllib.request

import orderd_client

URL = sys.argv[1]
client = orderd_client.ApiClient(orderd_client.Configuration(host=URL))
documents = orderd_client.DocumentsApi(client)


def raw(path):
    with urllib.request.urlopen(URL + path) as answer:
        return json.load(answer)


ids = raw("/orders")
newest = raw(f"/order/{ids[0]}")
parcel = documents.get_document(ids[0])
assert isinstance(parcel, orderd_client.Parcel) and parcel.to_dict() == newest, parcel
assert documents.find_newest_document(var_class="c", delivery_email="a@b", weight=1.5, var_is=True).to_dict() == newest
assert documents.list_documents(n=3, full=True).actual_instance[0].order.to_dict() == newest
# A member that is called like a parameter, beside that parameter.
names = [parameter["name"] for parameter in raw("/openapi.json")["paths"]["/orders"]["get"]["parameters"]]
assert "$.from" in names and "from" in names, names
print("python: all as described")
