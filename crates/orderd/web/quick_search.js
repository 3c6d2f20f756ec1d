// Search while typing: the text is tried with each searchable member.

import { $, h, value, line } from "./dom.js";
import { dateTime, label, t } from "./i18n.js";
import { find, orderText } from "./api.js";
import { address } from "./query.js";
import { arrival } from "./table.js";
import { failure } from "./error_view.js";

const PAUSE = 180;
const MOST = 50;

let members = [];
let timer = 0;
let asking = null;
// The text of the results, and the view before the search.
let shown = null;
let before = "#/";

export function wire(searched) {
  members = searched;
  const input = $("search");
  input.oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  };
  input.onkeydown = (event) => {
    if (event.key === "Escape") leave();
    if (event.key === "Enter") open();
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName);
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
  });
}

// From the URL, so that a search can be bookmarked and shared.
export function run(wanted) {
  if (wanted === shown && !$("results").hidden) return;
  $("search").value = wanted;
  look();
}

const isSearch = () => location.hash.startsWith("#/search/");

function note(wanted) {
  if (!isSearch()) before = location.hash || "#/";
  history.replaceState(null, "", wanted ? `#/search/${encodeURIComponent(wanted)}` : before);
}

function leave() {
  clear();
  if (isSearch()) note("");
}

export function clear() {
  clearTimeout(timer);
  asking?.abort();
  shown = null;
  $("search").value = "";
  $("results").hidden = true;
  $("results").replaceChildren();
}

export function again() {
  if (!$("results").hidden) look();
}

// The newest hit, also if the user was faster than the search.
async function open() {
  clearTimeout(timer);
  if (shown !== $("search").value.trim()) await look();
  $("results").querySelector("a")?.click();
}

async function look() {
  asking?.abort();
  const wanted = $("search").value.trim();
  if (!wanted) return leave();
  note(wanted);
  asking = new AbortController();
  const { signal } = asking;
  $("results").hidden = false;
  try {
    const found = await Promise.all([...members.map((member) => byMember(member, wanted, signal)), byId(wanted, signal)]);
    if (signal.aborted) return;
    shown = wanted;
    show(found.filter((hits) => hits.ids.length > 0));
  } catch (error) {
    if (error.name !== "AbortError" && !signal.aborted) $("results").replaceChildren(failure(error, look));
  }
}

const byMember = async (member, wanted, signal) =>
  ({ how: t("foundBy", { member: label(member) }), member, ids: await find(member, wanted, { signal }) });

// Only what looks like an id: the service may have to ask the table for it.
async function byId(wanted, signal) {
  const looksLikeOne = arrival(wanted) !== null;
  const found = looksLikeOne && (await orderText(wanted, { signal }).then(() => true, (error) => {
    if (error.name === "AbortError") throw error;
    return false;
  }));
  return { how: t("foundById"), ids: found ? [wanted] : [] };
}

function show(found) {
  const groups = found.map(({ how, member, ids }) => {
    const query = new URLSearchParams({ [`$.${member}`]: shown });
    const all = ids.length < MOST ? null : h("a", { href: address(query), onclick: () => clear() }, t("foundAll"));
    const count = ids.length < MOST ? t("found", { count: ids.length }) : t("foundMost", { count: ids.length });
    return h("div", {}, h("h2", {}, `${count} ${how}`), h("ul", {}, ...ids.map(hit)), all);
  });
  $("results").replaceChildren(...(groups.length > 0 ? groups : [h("p", { class: "note" }, t("nothingFound"))]));
}

function hit(id) {
  const at = arrival(id);
  return h("li", {}, h("a", { href: `#/order/${encodeURIComponent(id)}`, onclick: () => clear() }, value(line(id), { class: "id" })),
    at ? h("span", { class: "note" }, dateTime(at)) : null);
}
