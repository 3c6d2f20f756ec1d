// Uses the types that openapi-typescript has made, with openapi-fetch: URL READ_TOKEN REPLAY_TOKEN ERASE_TOKEN.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const [url = "", read = "", replay = "", erase = ""] = process.argv.slice(2);
const client = (token: string) =>
  createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const api = client(read);

async function raw(path: string): Promise<unknown> {
  return await (await fetch(url + path, { headers: { Authorization: `Bearer ${read}` } })).json();
}

const ids = (await raw("/orders")) as string[];
const id = ids[0] ?? "";
const newest = (await raw(`/order/${id}`)) as components["schemas"]["Order"];
const order_uid = newest.order_uid ?? "";

const order = await api.GET("/order/{id}", { params: { path: { id } } });
assert.deepEqual(order.data, newest);
const price: number | undefined = order.data?.items?.[0]?.price;
assert.equal(price, newest.items?.[0]?.price);
const none = await api.GET("/order/{id}", { params: { path: { id: "nothing" } } });
assert.equal(none.response.status, 404);
const stranger = await client("wrong").GET("/order/{id}", { params: { path: { id } } });
assert.equal(stranger.response.status, 401);

const found = await api.GET("/order", { params: { query: { order_uid } } });
assert.deepEqual(found.data, newest);
assert.equal(found.response.headers.get("content-location"), `/order/${id}`);
// @ts-expect-error: no such member is searched by.
assert.equal((await api.GET("/order", { params: { query: { locale: "en" } } })).response.status, 400);

const listed = await api.GET("/orders", { params: { query: { order_uid } } });
assert.deepEqual(listed.data, [id]);
const full = await api.GET("/orders", { params: { query: { order_uid, full: true, from: "2020-01-01T00:00:00Z" } } });
assert.deepEqual(full.data, [{ id, order: newest }]);
const page = await api.GET("/orders", { params: { query: { order: "asc", limit: 2 } } });
assert.deepEqual(page.data, ids.slice(-2).reverse());
assert.match(page.response.headers.get("link") ?? "", /rel="next"/);
const last = await api.GET("/order_pages/last");
assert.deepEqual(last.data, [...ids].reverse());
assert.equal((await api.GET("/mem_len")).data?.mem_len, ids.length);

const letters = await api.GET("/dead_letters");
assert.deepEqual(letters.data, await raw("/dead_letters"));
const key = letters.data?.[0]?.key ?? "";
const letter = await api.GET("/dead_letters/{key}", { params: { path: { key } } });
assert.equal(letter.data?.payload, '{"order_uid":1}');
const refused = await client(replay).POST("/dead_letters/{key}/replay", { params: { path: { key } } });
assert.equal(refused.data?.outcome, "refused");
const corrected = await client(replay).POST("/dead_letters/{key}/replay", {
  params: { path: { key } },
  body: { order_uid: "corrected" },
});
assert.equal(corrected.data?.outcome, "taken_in");
assert.equal((await client(erase).DELETE("/order/{id}", { params: { path: { id: key } } })).response.status, 204);
assert.equal((await api.GET("/readyz", { params: { query: { for: "reads" } } })).data?.ready, true);
console.log("typescript: all as described");
