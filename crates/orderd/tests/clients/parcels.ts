// The same for documents that are not orders: URL.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const [url = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: url });
const ids = (await (await fetch(`${url}/orders`)).json()) as string[];
const id = ids[0] ?? "";
const newest = (await (await fetch(`${url}/order/${id}`)).json()) as components["schemas"]["Parcel"];
assert.equal(newest.class, "c");
const query = { class: "c", "delivery.email": "a@b", "$.from": "x", from: "2020-01-01T00:00:00Z", weight: 1.5, is: true };
assert.deepEqual((await api.GET("/orders", { params: { query } })).data, [id]);
assert.deepEqual((await api.GET("/order", { params: { query: { from: "x", n: 3 } } })).data, newest);
console.log("typescript: all as described");
