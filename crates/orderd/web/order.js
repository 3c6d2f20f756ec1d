"use strict";

// One order, laid out for reading. Values of members become text nodes, whatever they hold.

/** What holds a value: its own direction, so that right-to-left text doesn't turn what is around it. */
function value(given) {
  return make("bdi", {}, given === "" ? "–" : given);
}

function isObject(given) {
  return typeof given === "object" && given !== null && !Array.isArray(given);
}

function list(pairs) {
  return make("dl", { class: "members" }, ...pairs.map(([name, given]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, typeof given === "object" ? given : value(given)))));
}

/** Money: amounts are whole numbers whose unit the document doesn't say. */
function money(amount, currency) {
  return value(`${number(amount)} ${currency}`.trim());
}

function card(title, ...children) {
  return make("section", { class: "card" }, make("h3", {}, title), ...children);
}

function itemsTable(items, currency) {
  const columns = ["name", "brand", "size", "price", "sale", "total_price", "status"];
  const numeric = new Set(["price", "sale", "total_price", "status"]);
  const title = column => text(column === "name" ? "item.name" : column);
  const cell = (item, column) => {
    const shown = column === "price" || column === "total_price" ? money(item[column], currency) : value(item[column]);
    return make("td", { class: numeric.has(column) ? "number" : "", "data-column": title(column) }, shown);
  };
  const head = make("tr", {}, ...columns.map(column => make("th", { scope: "col", class: numeric.has(column) ? "number" : "" }, title(column))));
  const rows = items.map(item => make("tr", {}, ...columns.map(column => cell(item, column))));
  const sum = items.reduce((sum, item) => sum + item.total_price, 0);
  const foot = make("tr", {}, make("th", { scope: "row", colspan: "5" }, text("total")),
    make("td", { class: "number" }, money(sum, currency)), make("td", { class: "rest" }));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows), make("tfoot", {}, foot));
}

function paidAt(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toLocaleString(language);
}

function laidOut(order) {
  const { delivery, payment, items, ...rest } = order;
  const currency = payment.currency;
  const place = ["name", "phone", "email", "address", "city", "region", "zip"];
  const paid = [
    ...["goods_total", "delivery_cost", "custom_fee", "amount"].map(name => [text(name), money(payment[name], currency)]),
    [text("payment_dt"), paidAt(payment.payment_dt)],
    ...["provider", "bank", "transaction", "request_id"].map(name => [text(name), payment[name]]),
  ];
  return make("div", { class: "cards" },
    card(text("delivery"), list(place.map(name => [text(`delivery.${name}`), delivery[name]]))),
    card(text("payment"), list(paid)),
    make("section", { class: "card wide" }, make("h3", {}, `${text("items")} (${number(items.length)})`), itemsTable(items, currency)),
    card(text("details"), list(Object.entries(rest).filter(([, given]) => typeof given !== "object"))));
}

/** Any document, as a tree of its members. */
function tree(given) {
  if (Array.isArray(given)) {
    return make("ol", { class: "tree" }, ...given.map(element => make("li", {}, tree(element))));
  }
  if (!isObject(given)) return value(given);
  return make("ul", { class: "tree" }, ...Object.entries(given).map(([name, member]) => {
    if (typeof member !== "object") return make("li", {}, make("b", {}, name), ": ", value(member));
    return make("li", {}, make("details", { open: "" }, make("summary", {}, name), tree(member)));
  }));
}

/** Whether it is the order that this page has a layout for. */
function isOrder(given) {
  const { delivery, payment, items } = given;
  const numbers = (of, ...names) => names.every(name => typeof of[name] === "number");
  return isObject(delivery) && isObject(payment) && Array.isArray(items)
    && typeof delivery.address === "string" && numbers(payment, "amount", "goods_total", "delivery_cost", "custom_fee", "payment_dt")
    && items.every(item => isObject(item) && numbers(item, "price", "sale", "total_price"));
}

/** `body` is the JSON as it came: numbers that JavaScript can't hold are copied as they are. */
function orderView(id, body) {
  const order = JSON.parse(body);
  const copy = make("button", { type: "button" }, text("copy"));
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(body);
    copy.textContent = text("copied");
    setTimeout(() => { copy.textContent = text("copy"); }, 1500);
  });
  // Over plain HTTP from another machine browsers have no clipboard.
  if (!navigator.clipboard) copy.hidden = true;
  const raw = make("details", { class: "raw" }, make("summary", {}, text("json")), make("pre", { tabindex: "0" }, pretty(body)));
  return [
    make("div", { class: "bar" }, make("h2", {}, text("order", ""), value(id)), copy, make("a", { href: "#/" }, text("back"))),
    isObject(order) && isOrder(order) ? laidOut(order) : card(text("details"), tree(order)),
    raw,
  ];
}

/** Indents JSON without reading its numbers. */
function pretty(json) {
  let depth = 0, out = "";
  for (const token of json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g) ?? []) {
    if (token === "}" || token === "]") depth -= 1;
    const line = "\n" + "  ".repeat(depth);
    if (token === "}" || token === "]") out += line + token;
    else if (token === "{" || token === "[") { depth += 1; out += token + line + "  "; }
    else if (token === ",") out += token + line;
    else out += token === ":" ? ": " : token;
  }
  return out.replace(/([{[])\s+([}\]])/g, "$1$2");
}
