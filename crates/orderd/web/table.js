// A table of orders: when each arrived, what it is searched by, its key. Rows that come from a page have only
// their keys; the rest is asked for as they come into view, a few at a time.

import { h, value, line } from "./dom.js";
import { dateTime, keyLabel, pathLabel, t, time, zone } from "./i18n.js";
import { orderText } from "./api.js";
import { member as valueOf, parse, path, stringify } from "./json.js";

const AT_ONCE = 4;
const AGAIN = 2000;

// Keys begin with nanoseconds since 1970; those of other origin have no time.
export function arrival(id) {
  const [, nanoseconds] = /^(\d{16,20})(?:-\d+)?$/.exec(id) ?? [];
  const date = nanoseconds && new Date(Number(BigInt(nanoseconds) / 1000000n));
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

export class List {
  #members;
  #heads;
  #rows = new Map();
  #body;
  #most;
  #wanted = [];
  #asking = 0;
  #seen;
  table;

  constructor(members, caption, most = Infinity) {
    this.#members = members;
    this.#most = most;
    this.#body = h("tbody", {});
    this.#heads = [`${t("colTime")}, ${zone()}`, ...members.map(pathLabel), keyLabel(members)];
    const head = h("tr", {}, ...this.#heads.map((text) => h("th", { scope: "col" }, text)));
    this.table = h("table", { class: "orders", "aria-label": caption },
      h("thead", {}, head), this.#body);
    this.#seen = new IntersectionObserver((entries) => this.#inView(entries), { rootMargin: "200px" });
  }

  get size() {
    return this.#rows.size;
  }

  has(id) {
    return this.#rows.has(id);
  }

  // Newest first. `fresh` ones are marked for a moment.
  prepend(orders, fresh = false) {
    const rows = orders.filter((order) => !this.#rows.has(order.id)).map((order) => this.#row(order, fresh));
    this.#body.prepend(...rows);
    while (this.#rows.size > this.#most) this.#drop(this.#body.lastElementChild);
  }

  append(orders) {
    const room = this.#most - this.#rows.size;
    const rows = orders.filter((order) => !this.#rows.has(order.id)).slice(0, Math.max(0, room));
    this.#body.append(...rows.map((order) => this.#row(order, false)));
  }

  #drop(row) {
    this.#seen.unobserve(row);
    this.#rows.delete(row.dataset.id);
    row.remove();
  }

  #row(order, fresh) {
    const row = h("tr", { class: fresh ? "is-fresh" : null });
    row.dataset.id = order.id;
    this.#rows.set(order.id, row);
    this.#fill(row, order);
    if (!this.#isKnown(order)) this.#seen.observe(row);
    return row;
  }

  #isKnown(order) {
    return this.#members.every((member) => member in (order.members ?? {}));
  }

  #fill(row, order) {
    const at = arrival(order.id);
    const when = at ? h("time", { datetime: at.toISOString(), title: dateTime(at) }, time(at)) : "–";
    const href = `#/order/${encodeURIComponent(order.id)}`;
    const cells = this.#members.map((member) => this.#isKnown(order) ? this.#text(order.members[member]) : "…");
    const id = value(line(order.id || "“”"), { class: "id", dir: "ltr" });
    const [first, ...others] = [...cells, id];
    const all = [["when", when], ["main", h("a", { href }, first)]];
    // Keys begin alike, so a shortened key keeps its end.
    all.push(...others.map((cell) => [cell === id ? "cut" : null, cell]));
    const hasFocus = row.contains(document.activeElement);
    // Without its head, as on phones, each cell has its label.
    row.replaceChildren(...all.map(([kind, cell], index) => h("td", { class: kind, "data-label": this.#heads[index] }, cell)));
    if (hasFocus) row.querySelector("a").focus();
  }

  // The values without those that are missing or null. A path through an array may have several.
  #text(content) {
    const values = [content].flat(Infinity).filter((one) => one !== undefined && one !== null);
    const text = values.map((one) => (typeof one === "object" ? stringify(one) : String(one))).join(", ");
    if (text.trim() !== "") return value(line(text));
    return h("span", { class: "note" }, values.length === 0 ? "–" : t("emptyText"));
  }

  #inView(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#seen.unobserve(target);
      this.#want(target.dataset.id);
    }
  }

  #want(id) {
    this.#wanted.push(id);
    this.#ask();
  }

  async #ask() {
    while (this.#asking < AT_ONCE && this.#wanted.length > 0) {
      const id = this.#wanted.shift();
      if (!this.#rows.has(id) || !this.table.isConnected) continue;
      this.#asking += 1;
      this.#complete(id).finally(() => {
        this.#asking -= 1;
        this.#ask();
      });
    }
  }

  // A row whose order can't be had stays as it is: its link says why. Only an answer that was lost is asked for again.
  async #complete(id) {
    let lost = false;
    const order = await orderText(id).then(parse).catch((error) => void (lost = error.mayPass));
    const row = this.#rows.get(id);
    if (lost && row?.isConnected) setTimeout(() => this.#want(id), AGAIN);
    if (!order || !row) return;
    const shown = Object.fromEntries(this.#members.map((member) => [member, valueOf(order, path(member))]));
    this.#fill(row, { id, members: shown });
  }
}
