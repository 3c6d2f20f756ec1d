"""Uses the client that openapi-generator has made: URL READ_TOKEN REPLAY_TOKEN ERASE_TOKEN."""

import json
import sys
import urllib.request

import orderd_client
from orderd_client.exceptions import ApiException

URL, READ, REPLAY, ERASE = sys.argv[1:]


def apis(token):
    client = orderd_client.ApiClient(orderd_client.Configuration(host=URL, access_token=token))
    return orderd_client.OrdersApi(client), orderd_client.DeadLettersApi(client), orderd_client.ServiceApi(client)


def raw(path):
    request = urllib.request.Request(URL + path, headers={"Authorization": f"Bearer {READ}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def refused(status, call):
    try:
        call()
    except ApiException as error:
        assert error.status == status, error
        assert error.body.startswith(str(status)), error.body
    else:
        raise AssertionError(f"not {status}")


orders, letters, service = apis(READ)
ids = raw("/orders")
newest = raw(f"/order/{ids[0]}")

assert orders.get_order(ids[0]).to_dict() == newest
assert orders.get_order(ids[0]).items[0].price == newest["items"][0]["price"]
refused(404, lambda: orders.get_order("nothing"))
refused(401, lambda: apis("wrong")[0].get_order(ids[0]))
refused(403, lambda: orders.erase_order(ids[0]))

# By one member, by two, by none.
assert orders.find_newest_order(order_uid=newest["order_uid"]).to_dict() == newest
both = orders.find_newest_order_with_http_info(order_uid=newest["order_uid"], track_number=newest["track_number"])
assert both.headers["content-location"] == f"/order/{ids[0]}"
refused(404, lambda: orders.find_newest_order(order_uid="nothing"))
refused(400, orders.find_newest_order)

# Lists: ids or orders, by a member, by time, page by page.
assert orders.list_orders(order_uid=newest["order_uid"]).actual_instance == [ids[0]]
assert orders.list_orders(order_uid="nothing").actual_instance == []
entries = orders.list_orders(order_uid=newest["order_uid"], full=True).actual_instance
assert [(entry.id, entry.order.to_dict()) for entry in entries] == [(ids[0], newest)]
assert orders.list_orders(var_from="2020-01-01T00:00:00Z", to="2020-01-01T00:00:01Z").actual_instance == []
page = orders.list_orders_with_http_info(order="asc", limit=2)
assert page.data.actual_instance == ids[:-3:-1] and 'rel="next"' in page.headers["link"]
assert orders.list_orders(order="asc", limit=1, after=ids[-1]).actual_instance == [ids[-2]]
assert orders.get_last_page() == orders.get_page(1) == ids[::-1]
assert orders.count_orders().mem_len == len(ids)

# Dead letters: one that is sent again as it is, and one that is corrected.
listed = letters.list_dead_letters()
known = lambda letter: {name: value for name, value in letter.items() if value is not None}
assert [known(letter.to_dict()) for letter in listed] == [known(letter) for letter in raw("/dead_letters")]
assert letters.list_dead_letters(before=listed[0].number)[0].key == listed[1].key
one = letters.get_dead_letter(listed[0].key)
assert (one.payload, one.reason, one.path) == ('{"order_uid":1}', "wrong_type", "$.order_uid")
refused(404, lambda: letters.get_dead_letter("nothing"))
refused(403, lambda: letters.replay_dead_letter(one.key))
replayer = apis(REPLAY)[1]
assert replayer.replay_dead_letter(one.key).outcome == "refused"
assert replayer.replay_dead_letter(one.key, body={"order_uid": "corrected"}).outcome == "taken_in"
assert orders.get_order(one.key).order_uid == "corrected"

apis(ERASE)[0].erase_order(one.key)
refused(404, lambda: orders.get_order(one.key))

assert service.get_readiness().ready and service.get_readiness(var_for="reads").fill.rows == 0
assert service.get_health().writer.var_self
assert service.get_metrics().startswith("# HELP")
assert "<!doctype html>" in service.get_web_page()
assert service.get_description()["openapi"] == "3.1.0"
print("python: all as described")
