// Search while typing: the text is tried with each searchable member, and as a key.

import { $, h, say } from "./dom.js";
import { either, keyLabel, pathLabel, t, title } from "./i18n.js";
import { find, orderText } from "./api.js";
import { address } from "./query.js";
import { arrival, List } from "./table.js";
import { failure } from "./error_view.js";

const PAUSE = 180;
const MOST = 50;

// What a value of a type looks like; the service refuses others.
const LOOKS = { boolean: /^(true|false)$/, integer: /^[-+]?\d/, number: /^[-+]?\d/ };

let members = [];
let types = [];
let timer = 0;
let asking = null;
// The text of the results, and the URL and the title of the view before the search.
let shown = null;
let before = "#/";
let titleBefore = "";
// Whether another view than the one before is below the results: they were opened by their URL, or rendered again.
let isBeforeGone = false;
let showView = () => {};

// `show` renders the view of the URL.
export function wire(known, show) {
  [members, types, showView] = [known.search, known.types, show];
  name();
  $("results").onclick = (event) => event.target.closest("a") && clear();
  const input = $("search");
  input.oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  };
  input.onkeydown = (event) => {
    if (event.key === "Escape") leave();
    if (event.key !== "Enter") return;
    // Or the hit that gets the focus would be opened by the same key.
    event.preventDefault();
    open();
  };
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName);
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
  });
}

// From the URL, so that a search can be bookmarked and shared. The view below is the first one.
export function run(wanted) {
  isBeforeGone = true;
  if (wanted === shown && !$("results").hidden) return;
  $("search").value = wanted;
  look();
}

const isSearch = () => location.hash.startsWith("#/search/");

function note(wanted) {
  if (!isSearch()) [before, isBeforeGone] = [location.hash || "#/", false];
  history.replaceState(null, "", wanted ? `#/search/${encodeURIComponent(wanted)}` : before);
}

function leave() {
  if (!$("results").hidden) document.title = titleBefore;
  clear();
  if (!isSearch()) return;
  note("");
  if (isBeforeGone) showView();
}

export function clear() {
  clearTimeout(timer);
  asking?.abort();
  shown = null;
  $("search").value = "";
  $("results").hidden = true;
  $("found").replaceChildren();
}

export function again() {
  name();
  if (!$("results").hidden) look();
}

// Names what can be searched.
function name() {
  const names = either([...members.map(pathLabel), keyLabel(members)]);
  $("search").placeholder = names;
  $("search-label").textContent = t("searchLabel", { members: names });
}

// The only hit, also if the user was faster than the search. If there are several, the first gets the focus and none is opened.
async function open() {
  clearTimeout(timer);
  if (shown !== $("search").value.trim()) await look();
  const hits = [...$("results").querySelectorAll("td a")];
  const isOne = new Set(hits.map((hit) => hit.href)).size === 1;
  if (isOne) hits[0].click();
  else hits[0]?.focus();
}

async function look() {
  asking?.abort();
  const wanted = $("search").value.trim();
  if (!wanted) return leave();
  note(wanted);
  asking = new AbortController();
  const { signal } = asking;
  // The view below is hidden, and has its title again afterwards.
  if ($("results").hidden) {
    titleBefore = document.title;
    document.title = title();
    $("found").replaceChildren(h("p", { class: "note" }, t("searching")));
    $("results").hidden = false;
  }
  try {
    const asked = members.filter((_, index) => LOOKS[types[index]]?.test(wanted) ?? true);
    const found = await Promise.all([...asked.map((member) => byMember(member, wanted, signal)), byKey(wanted, signal)]);
    if (signal.aborted) return;
    shown = wanted;
    show(found.filter((hits) => hits.ids.length > 0));
  } catch (error) {
    if (error.name !== "AbortError" && !signal.aborted) $("found").replaceChildren(failure(error, look));
  }
}

const byMember = async (member, wanted, signal) =>
  ({ how: t("foundBy", { member: pathLabel(member) }), member, ids: await find(member, wanted, { signal }) });

// Beside members, only what looks like a key: the service may have to ask the table for it.
async function byKey(wanted, signal) {
  const mayBeOne = members.length === 0 || arrival(wanted) !== null;
  const found = mayBeOne && (await orderText(wanted, { signal }).then(() => true, (error) => {
    if (error.status !== 404) throw error;
    return false;
  }));
  return { how: t("foundByKey"), ids: found ? [wanted] : [] };
}

function show(found) {
  const titles = [];
  const groups = found.map(({ how, member, ids }) => {
    const query = new URLSearchParams({ [`$.${member}`]: shown });
    const all = ids.length < MOST ? null : h("a", { href: address(query) }, t("foundAll"));
    const count = ids.length < MOST ? t("found", { count: ids.length }) : t("foundMost", { count: ids.length });
    const title = `${count} ${how}`;
    titles.push(title);
    const list = new List(members, title);
    list.append(ids.map((id) => ({ id })));
    return h("div", {}, h("h2", {}, title), list.table, all);
  });
  $("found").replaceChildren(...(groups.length > 0 ? groups : nothing()));
  say(titles.join(", ") || t(none()[0]));
}

const nothing = () => none().map((key) => h("p", { class: "note" }, t(key)));
const none = () => (members.length > 0 ? ["nothingFound"] : ["nothingByKey", "searchNone"]);
