// A table of orders: when each arrived, what it is searched by, its key. Without members to search by: its key and the
// beginning of its document. What a row lacks is asked for while it is in view, a few rows at a time.

import { h, LINE, value, line } from "./dom.js";
import { dateTime, keyLabel, pathLabel, t, time, zone } from "./i18n.js";
import { jittered, orderText } from "./api.js";
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
  // The ids of the rows in view that lack something.
  #wanted = new Set();
  #asking = 0;
  #seen;
  table;

  constructor(members, caption, most = Infinity) {
    this.#members = members;
    this.#most = most;
    this.#body = h("tbody", {});
    const columns = this.#isSearched ? [...members.map(pathLabel), keyLabel(members)] : [t("key"), t("document")];
    this.#heads = [`${t("colTime")}, ${zone()}`, ...columns];
    const head = h("tr", {}, ...this.#heads.map((text) => h("th", { scope: "col" }, text)));
    this.table = h("table", { class: this.#isSearched ? "orders" : "orders whole", "aria-label": caption },
      h("thead", {}, head), this.#body);
    this.#seen = new IntersectionObserver((entries) => this.#inView(entries), { rootMargin: "200px" });
  }

  get #isSearched() {
    return this.#members.length > 0;
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
    this.#wanted.delete(row.dataset.id);
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
    if (!this.#isSearched) return "beginning" in order;
    return this.#members.every((member) => member in (order.members ?? {}));
  }

  #fill(row, order) {
    const at = arrival(order.id);
    const when = at ? h("time", { datetime: at.toISOString(), title: dateTime(at) }, time(at)) : "–";
    const href = `#/order/${encodeURIComponent(order.id)}`;
    const shown = (content) => (this.#isKnown(order) ? content() : "…");
    const cells = this.#members.map((member) => shown(() => this.#text(order.members[member])));
    const id = value(line(order.id || "“”"), { class: "id", dir: "ltr" });
    const [first, ...others] = this.#isSearched ? [...cells, id] : [id, shown(() => value(order.beginning, { dir: "ltr" }))];
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
      const { id } = target.dataset;
      if (isIntersecting && this.#rows.get(id) === target) this.#wanted.add(id);
      else this.#wanted.delete(id);
    }
    this.#ask();
  }

  #ask() {
    for (const id of this.#wanted) {
      if (this.#asking >= AT_ONCE || !this.table.isConnected) return;
      this.#wanted.delete(id);
      this.#seen.unobserve(this.#rows.get(id));
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
    const order = await orderText(id).then((text) => this.#shown(id, text)).catch((error) => void (lost = error.mayPass));
    const row = this.#rows.get(id);
    // Observed again, it is asked for again if it is still in view.
    if (lost && row) setTimeout(() => this.#rows.get(id) === row && this.#seen.observe(row), jittered(AGAIN));
    if (order && row) this.#fill(row, order);
  }

  // What a row shows of a document. Its beginning is not parsed: it may be long and deep.
  #shown(id, text) {
    if (!this.#isSearched) return { id, beginning: line(text.slice(0, 10 * LINE).replace(/\s+/g, " ")) };
    const order = parse(text);
    return { id, members: Object.fromEntries(this.#members.map((member) => [member, valueOf(order, path(member))])) };
  }
}
