// One order, laid out for reading. What the model has is laid out as what it is where it is known: a delivery,
// a payment, items. Everything else, and a document of another kind, is shown as the tree that it is.

import { $, h, value } from "./dom.js";
import { capital, dateTime, label, number, t } from "./i18n.js";
import { orderText } from "./api.js";
import { isTooDeep, member, parse, path, pretty, sum } from "./json.js";
import { arrival } from "./table.js";
import { failure } from "./error_view.js";
import { tree } from "./json_tree.js";

const MONEY = ["price", "total_price", "amount", "delivery_cost", "goods_total", "custom_fee"];
const COLUMNS = ["name", "price", "sale", "total_price", "status"];
let shown = 0;

// `members` are those that are searched.
export async function show(id, members) {
  const mine = ++shown;
  const view = $("view-order");
  view.replaceChildren(h("p", { class: "note" }, t("loading")));
  try {
    const text = await orderText(id);
    if (mine === shown) view.replaceChildren(...page(id, text, members));
  } catch (error) {
    if (mine === shown) view.replaceChildren(failure(error, () => show(id, members), id));
  }
}

function page(id, text, members) {
  // A very deep document is shown as text only.
  if (isTooDeep(text)) return [heading(id, id, text), source(text)];
  const order = parse(text);
  const { delivery, payment, items, ...rest } = order;
  const isOrder = isObject(delivery) && isObject(payment) && Array.isArray(items);
  const body = isOrder ? laidOut(delivery, payment, items, rest) : [panel(t("document"), tree(order), "wide")];
  return [heading(id, name(order, members) ?? id, text), h("div", { class: "panels" }, ...body), source(text)];
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// The order's name: `order_uid`, or the first member of SEARCH, if it is text and not blank.
function name(order, members) {
  const found = ["order_uid", ...members.slice(0, 1)].map((text) => member(order, path(text)));
  return found.find((content) => typeof content === "string" && content.trim() !== "");
}

function heading(id, name, text) {
  const at = arrival(id);
  const kind = capital(t("order"));
  document.title = `${kind} ${name.slice(0, 60)} · orderd`;
  return h("div", { class: "heading" },
    h("div", {},
      h("h1", { tabindex: -1 }, `${kind} `, value(name)),
      h("p", { class: "note" }, `${t("key")} `, value(id, { class: "id" }), at ? ` · ${t("arrived", { time: dateTime(at) })}` : "")),
    copyButton(text));
}

function copyButton(text) {
  const button = h("button", { type: "button", class: "primary" }, t("copy"));
  button.onclick = async () => {
    const done = await navigator.clipboard?.writeText(pretty(text)).then(() => true, () => false);
    button.textContent = t(done ? "copied" : "cantCopy");
    setTimeout(() => (button.textContent = t("copy")), 2000);
  };
  return button;
}

function laidOut(delivery, payment, items, rest) {
  const currency = typeof payment.currency === "string" ? payment.currency : "";
  return [
    panel(label("delivery"), pairs(delivery)),
    panel(label("payment"), paymentOf(payment, currency)),
    panel(`${t("items")} (${number(items.length)})`, itemsOf(items, currency), "wide"),
    panel(t("others"), pairs(rest), "wide columns"),
  ];
}

function panel(title, content, kind = "") {
  return h("section", { class: `panel ${kind}` }, h("h2", {}, title), content);
}

function pairs(object) {
  const rows = Object.entries(object).map(([name, content]) =>
    h("div", {}, h("dt", {}, label(name)), h("dd", {}, show1(name, content))));
  return h("dl", { class: "pairs" }, ...rows);
}

function show1(name, content, currency = "") {
  if (isObject(content) || Array.isArray(content)) return tree(content);
  if (content === "") return h("span", { class: "note" }, "–");
  if (MONEY.includes(name)) return money(content, currency);
  const date = dateOf(name, content);
  return date ? h("time", { datetime: date.toISOString(), title: String(content) }, dateTime(date)) : value(content);
}

function dateOf(name, content) {
  const seconds = name === "payment_dt" && typeof content === "number" && content > 0;
  const text = name === "date_created" && typeof content === "string";
  const date = seconds ? new Date(content * 1000) : text ? new Date(content) : null;
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

// The amount as in the document, which does not say whether it is in the smallest unit.
const money = (amount, currency) => {
  const isNumber = typeof amount === "number" || typeof amount === "bigint";
  return value(`${isNumber ? number(amount) : amount} ${currency}`.trim(), { class: "number" });
};

const SUMMED = ["goods_total", "delivery_cost", "custom_fee"];

function paymentOf(payment, currency) {
  const summed = SUMMED.filter((name) => name in payment);
  const others = Object.fromEntries(Object.entries(payment).filter(([name]) => !summed.includes(name) && name !== "amount"));
  const rows = summed.map((name) => h("div", {}, h("dt", {}, label(name)), h("dd", {}, money(payment[name], currency))));
  const total = sum(summed.map((name) => payment[name]));
  if ("amount" in payment) {
    const differs = total !== undefined && summed.length > 0 && total != payment.amount;
    const note = differs ? h("small", { class: "warn" }, t("addsUpTo", { value: number(total) })) : null;
    rows.push(h("div", { class: "total" }, h("dt", {}, t("total")), h("dd", {}, money(payment.amount, currency), note)));
  }
  return h("div", {}, pairs(others), h("dl", { class: "pairs sums" }, ...rows));
}

function itemsOf(items, currency) {
  if (items.length === 0) return h("p", { class: "note" }, t("none"));
  const columns = COLUMNS.filter((name) => items.some((item) => isObject(item) && name in item));
  const head = columns.map((name, index) => h("th", { scope: "col", class: index ? "number" : null }, label(name)));
  const rows = items.slice(0, 500).map((item) => itemRow(isObject(item) ? item : { name: item }, columns, currency));
  return h("div", {},
    h("table", { class: "items" },
      h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
    itemsSum(items, currency));
}

function itemsSum(items, currency) {
  const total = sum(items.map((item) => item?.total_price));
  const count = t("itemCount", { count: items.length });
  return h("dl", { class: "pairs sums" }, h("div", { class: "total" },
    h("dt", {}, `${t("itemsSum")} · ${count}`), h("dd", {}, total === undefined ? "–" : money(total, currency))));
}

function itemRow(item, columns, currency) {
  const shownElsewhere = [...columns, "brand", "size"];
  const rest = Object.fromEntries(Object.entries(item).filter(([name]) => !shownElsewhere.includes(name)));
  const under = [item.brand, item.size && item.size !== "0" ? `${label("size")} ${item.size}` : ""].filter(Boolean);
  const more = Object.keys(rest).length === 0 ? null : h("details", {}, h("summary", {}, t("more")), pairs(rest));
  const cells = columns.map((name, index) => h("td", { class: index ? "number" : "main", "data-label": label(name) },
    show1(name, item[name] ?? "", currency),
    ...(index ? [] : [h("p", { class: "note" }, value(under.join(" · "))), more])));
  return h("tr", {}, ...cells);
}

function source(text) {
  return h("details", { class: "panel wide source" }, h("summary", {}, t("json")),
    h("pre", { tabindex: 0, role: "group", "aria-label": t("json") }, pretty(text)));
}
