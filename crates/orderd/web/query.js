// Search by several values and times, page by page. The address holds the search as `/orders` takes it, so that a link to
// it can be sent on. Pages follow a cursor: what arrives meanwhile moves nothing.

import { $, h, say, value } from "./dom.js";
import { pathLabel, t, zone } from "./i18n.js";
import { listed } from "./api.js";
import * as download from "./download.js";
import { failure } from "./error_view.js";
import { List } from "./table.js";

const PAGE = 50;
const MAX_ROWS = 32;
let members = [];
// The type of each member's values.
let types = {};
let shown = 0;

export function wire(known) {
  members = known.search;
  types = Object.fromEntries(members.map((member, index) => [member, known.types[index]]));
  $("find-add").onclick = () => addRow().querySelector(".wanted").focus();
  $("find-form").onsubmit = (event) => {
    event.preventDefault();
    const hash = address(asked());
    if (hash === location.hash) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = hash;
  };
  download.wire(() => criteria(new URLSearchParams(location.hash.replace(/^#\/find\??/, ""))), known);
}

// The URL of a search. Members have their prefix, so that none is mistaken for another parameter.
export const address = (query) => (query.size > 0 ? `#/find?${query}` : "#/find");

// Signed out: remove everything.
export function forget() {
  shown += 1;
  download.stop();
  $("find-list").replaceChildren();
}

export async function show(search) {
  const mine = ++shown;
  const query = new URLSearchParams(search);
  download.forget();
  fillForm(query);
  $("find-list").replaceChildren(h("p", { class: "note" }, t("loading")));
  links(query, {});
  try {
    const found = await page(query);
    if (mine !== shown) return;
    $("find-list").replaceChildren(found.ids.length > 0 ? table(found.ids) : nothing());
    links(query, found);
    say(found.ids.length > 0 ? t("found", { count: found.ids.length }) : t("findNothing"));
  } catch (error) {
    if (mine === shown) $("find-list").replaceChildren(error.status === 400 ? wrong(error) : failure(error, () => show(search)));
  }
}

// `before` is only for this page: the results that end there are requested in reverse.
async function page(query) {
  const wanted = criteria(query);
  const before = query.get("before");
  const isBack = before !== null;
  if (isBack) wanted.set("order", query.get("order") === "asc" ? "desc" : "asc");
  if (isBack || query.has("after")) wanted.set("after", before ?? query.get("after"));
  wanted.set("limit", PAGE);
  const { response, next } = await listed(wanted);
  const ids = JSON.parse(await response.text());
  if (isBack) ids.reverse();
  const hasMore = next !== null;
  return { ids, hasNext: isBack || hasMore, hasPrevious: isBack ? hasMore : query.has("after") };
}

// The search without its cursor.
function criteria(query) {
  const copy = new URLSearchParams(query);
  for (const name of ["after", "before", "limit", "full"]) copy.delete(name);
  return copy;
}

function links(query, { ids = [], hasNext = false, hasPrevious = false }) {
  const at = (name, id) => {
    const there = criteria(query);
    if (name) there.set(name, id);
    return address(there);
  };
  link("find-first", query.has("after") || query.has("before"), at());
  link("find-prev", hasPrevious && ids.length > 0, at("before", ids[0]));
  link("find-next", hasNext && ids.length > 0, at("after", ids.at(-1)));
}

function link(id, works, href) {
  if (works) $(id).href = href;
  else $(id).removeAttribute("href");
  if (works) $(id).removeAttribute("aria-disabled");
  else $(id).setAttribute("aria-disabled", "true");
}

function table(ids) {
  const list = new List(members, t("findResults"));
  list.append(ids.map((id) => ({ id })));
  return list.table;
}

const nothing = () => h("div", { class: "empty" }, h("h2", {}, t("findNothing")));
const wrong = (error) => h("div", { class: "empty", role: "alert" }, h("h2", {}, t("findWrong")), value(error.message));

function fillForm(query) {
  $("find-rows").replaceChildren();
  for (const [name, text] of query) {
    const member = name.replace(/^\$\./, "");
    if ((name !== member || !OTHERS.includes(name)) && members.includes(member)) addRow(member, text, text === "");
  }
  if ($("find-rows").children.length === 0) addRow();
  $("find-members").hidden = members.length === 0;
  $("find-none").hidden = members.length > 0;
  $("find-from").value = local(query.get("from"));
  $("find-to").value = local(query.get("to"));
  $("find-sort").value = query.get("order") === "asc" ? "asc" : "desc";
  for (const element of document.querySelectorAll(".find .zone")) element.textContent = `, ${zone()}`;
}

const OTHERS = ["from", "to", "order", "after", "before", "limit", "full"];

function addRow(member = members[0], text = "", isEmpty = false) {
  const options = members.map((name) => h("option", { value: name, selected: name === member }, pathLabel(name)));
  const select = h("select", { class: "member", "aria-label": t("findMember") }, ...options);
  const row = h("div", { class: "find-row" }, select, ...wanted(member, text, isEmpty),
    h("button", { type: "button", class: "quiet", onclick: () => remove(row) }, t("findRemove")));
  select.onchange = () => {
    const [before, box] = [row.querySelector(".wanted"), row.querySelector(".empty-value input")];
    before.replaceWith(...wanted(select.value, before.value, box?.checked));
    box?.closest("label").remove();
  };
  $("find-rows").append(row);
  $("find-add").disabled = $("find-rows").children.length >= MAX_ROWS;
  return row;
}

// The field of a member's value. An empty field means that the member is not searched by, so members of text also have a
// check box to search for the empty text.
function wanted(member, text, isEmpty) {
  const named = { class: "wanted", "aria-label": t("findValue") };
  if (types[member] === "boolean") {
    return [h("select", named, ...["", "true", "false"].map((name) => h("option", { value: name, selected: name === text }, name || "–")))];
  }
  const field = h("input", { ...named, type: "search", autocomplete: "off", spellcheck: "false", value: text });
  if (types[member] !== "string") return [field];
  const box = h("input", { type: "checkbox", checked: isEmpty });
  box.onchange = () => (field.disabled = box.checked);
  box.onchange();
  return [field, h("label", { class: "empty-value" }, box, t("findEmpty"))];
}

function remove(row) {
  const next = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  $("find-add").disabled = false;
  (next?.querySelector(".wanted:enabled") ?? $("find-add")).focus();
}

// The search in the form. Rows without a value are ignored.
function asked() {
  const query = new URLSearchParams();
  for (const row of $("find-rows").children) {
    const isEmpty = row.querySelector(".empty-value input")?.checked;
    const [member, text] = [row.querySelector(".member").value, isEmpty ? "" : row.querySelector(".wanted").value];
    if (isEmpty || text !== "") query.append(`$.${member}`, text);
  }
  for (const name of ["from", "to"]) {
    const at = new Date($(`find-${name}`).value);
    if (!Number.isNaN(at.getTime())) query.set(name, at.toISOString());
  }
  if ($("find-sort").value === "asc") query.set("order", "asc");
  return query;
}

// A time in the field's format: in the browser's time zone, to the second.
function local(time) {
  const at = /^\d+$/.test(time ?? "") ? new Date(Number(BigInt(time) / 1000000n)) : new Date(time ?? "");
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
