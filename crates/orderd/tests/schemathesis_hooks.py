"""What Schemathesis needs to know about the service."""

from urllib.parse import urlsplit

import requests
import schemathesis

MOST = 1 << 20
AGAIN = 5
send_once = requests.Session.send


def send(session, request, **options):
    """Retries requests that get Retry-After: on a machine that stalls for seconds, PostgreSQL does not answer."""
    for _ in range(AGAIN):
        response = send_once(session, request, **options)
        if request.method != "GET" or response.status_code != 503 or "retry-after" not in response.headers:
            break
    return response


def send_and_end(session, request, **options):
    """Ends the answer of /events after its first event: it has no end to wait for."""
    if urlsplit(request.url).path != "/events":
        return send(session, request, **options)
    response = send(session, request, **{**options, "stream": True})
    body = b""
    if response.headers.get("content-type") != "text/event-stream":
        return response
    for part in response.iter_content(None):
        body += part
        if b"event: " in body or len(body) > MOST:
            break
    response.close()
    response._content, response._content_consumed = body, True
    return response


requests.Session.send = send_and_end


@schemathesis.hook
def filter_query(context, query):
    """A member with nothing in it is not sent: what is sent then may be valid, and would be judged as if it were not."""
    return all(value not in (None, [], {}, [None]) for value in (query or {}).values())


@schemathesis.hook
def filter_case(context, case):
    """An order is found by at least one member, which parameters that stand by themselves can't say."""
    return case.operation.path != "/order" or bool(case.query)
