"use strict";

// The page: what is asked of the service, and what of it is shown where. `order.js` lays out one order.

const PAGE = 50;
const CHART_SECONDS = 120;
const COUNTERS = ["mem_len", "orders_per_second", "commit_ms", "committed", "skipped", "errors", "dead_letters", "lag"];
const PARTS = ["nats", "postgres", "intake", "fill"];

const by = id => document.getElementById(id);
const state = {
  members: [], signedOut: false, connected: false, health: null, stats: null, rates: [],
  paused: false, waiting: [], missed: 0, skippedFrom: null, events: null, frame: 0, view: "",
};

/** Asks the service. 401 shows the sign-in; other refusals are for whoever asked. */
async function ask(path, options) {
  const response = await fetch(path, { cache: "no-cache", ...options });
  if (response.status === 401 && path !== "session") signedOut();
  return response;
}

function failed(into, problem, again) {
  into.replaceChildren(make("p", {}, text("failed", problem)), make("button", { type: "button", onclick: again }, text("retry")));
  into.hidden = false;
}

// ---- Lists

/** When an order came: our keys, and those of the Go service, start with the time in nanoseconds. */
function arrived(id) {
  const digits = /^(\d{19})(-\d+)?$/.exec(id);
  return digits ? new Date(Number(digits[1].slice(0, 13))) : null;
}

function line(order, fresh) {
  const at = arrived(order.id);
  const members = state.members.filter(name => name in order).map(name => make("bdi", { class: "member" }, cut(order[name])));
  const time = at && make("time", { datetime: at.toISOString() }, at.toLocaleString(language, { dateStyle: "short", timeStyle: "medium" }));
  const link = make("a", { href: `#/order/${encodeURIComponent(order.id)}` }, make("bdi", { class: "id" }, cut(order.id)), ...members, time);
  return make("li", fresh ? { class: "fresh" } : {}, link);
}

/** Long values would cost the list its pace; the order itself shows them whole. */
function cut(given) {
  const whole = String(given);
  return whole.length > 100 ? `${whole.slice(0, 100)}…` : whole;
}

// ---- Overview

function showStats(stats) {
  const was = state.stats;
  state.stats = stats;
  // A new run of the service counts anew.
  if (!was || stats.skipped < was.skipped) state.skippedFrom = stats.skipped;
  state.rates.push(stats.orders_per_second);
  if (state.rates.length > CHART_SECONDS) state.rates.shift();
  showCounters();
  showChart();
  liveNote();
}

function showCounters() {
  const list = by("counters");
  if (list.children.length === 0) {
    list.append(...COUNTERS.map(name => make("div", {}, make("dt", { "data-text": `c_${name}` }, text(`c_${name}`)), make("dd", { id: `c-${name}` }, "–"))));
  }
  if (!state.stats) return;
  for (const name of COUNTERS) by(`c-${name}`).textContent = state.stats[name] === null ? "–" : number(state.stats[name]);
}

function showChart() {
  const peak = Math.max(1, ...state.rates);
  const start = CHART_SECONDS - state.rates.length;
  const points = state.rates.map((rate, place) => `${start + place + 1},${39 - rate / peak * 37}`);
  if (points.length === 0) return;
  const [line, area] = [by("chart").querySelector(".line"), by("chart").querySelector(".area")];
  line.setAttribute("d", `M${points.join("L")}`);
  area.setAttribute("d", `M${start + 1},40L${points.join("L")}L${CHART_SECONDS},40Z`);
  by("peak").textContent = text("peak", number(Math.max(...state.rates)));
}

async function showHealth() {
  try {
    state.health = await (await fetch("readyz", { cache: "no-store" })).json();
  } catch {
    return;
  }
  by("parts").replaceChildren(...PARTS.map(name => {
    const part = state.health[name];
    const since = text("since", new Date(part.since).toLocaleString(language, { dateStyle: "short", timeStyle: "short" }));
    const reason = part.up ? since : part.reason ?? since;
    return make("li", { class: part.up ? "up" : "" }, `${text(name)}: ${text(part.up ? "up" : "down")} `, make("small", {}, reason));
  }));
  // While memory fills there is more every moment.
  if (!state.health.fill.up && by("live-list").children.length === 0 && !state.signedOut) loadNewest();
  emptyNote();
}

// ---- Pages

async function showPage(wanted) {
  const [list, empty] = [by("page-list"), by("page-empty")];
  empty.hidden = true;
  try {
    const count = await ask("mem_len");
    if (!count.ok) return;
    const last = Math.max(1, Math.ceil((await count.json()).mem_len / PAGE));
    const place = wanted === "last" ? last : Number(wanted);
    const page = await ask(`order_pages/${encodeURIComponent(wanted)}`);
    by("page-title").textContent = text("pageOf", Number.isSafeInteger(place) ? number(place) : wanted, number(last));
    pageLinks(place, last);
    list.replaceChildren(...(page.ok ? await page.json() : []).map(id => line({ id }, false)));
    if (!page.ok) {
      empty.replaceChildren(make("p", {}, text(wanted === "last" ? "none" : "noPage")));
      empty.hidden = false;
    }
  } catch (error) {
    failed(empty, error.message, () => showPage(wanted));
  }
}

function pageLinks(place, last) {
  const link = (name, to, works) => works
    ? make("a", { href: `#/page/${to}` }, text(name))
    : make("a", { role: "link", "aria-disabled": "true" }, text(name));
  by("page-links").replaceChildren(link("first", 1, place > 1), link("prev", Math.min(place - 1, last), place > 1),
    link("next", place + 1, place < last), link("last", last, place !== last), make("a", { href: "#/" }, text("live")));
}

// ---- One order

async function showOrder(id) {
  const into = by("order");
  try {
    const response = await ask(`order/${encodeURIComponent(id)}`);
    const body = await response.text();
    if (response.ok) into.replaceChildren(...orderView(id, body));
    else if (response.status === 404) message(into, text("noOrder", id));
    else if (response.status === 500) message(into, text("cantRead"));
    else if (response.status !== 401) failed(into, body, () => showOrder(id));
  } catch (error) {
    failed(into, error.message, () => showOrder(id));
  }
}

function message(into, shown) {
  into.replaceChildren(make("div", { class: "empty" }, make("p", {}, shown), make("a", { href: "#/" }, text("back"))));
}

// ---- Search

let searching = 0;

async function search() {
  const wanted = by("search").value.trim();
  const mine = ++searching;
  const into = by("found");
  if (wanted === "") { into.hidden = true; return; }
  try {
    const answers = await Promise.all(state.members.map(name => searchBy(name, wanted)));
    if (mine !== searching) return;
    showFound(wanted, answers.flat());
  } catch (error) {
    if (mine === searching) failed(into, error.message, search);
  }
}

async function searchBy(name, wanted) {
  const response = await ask(`orders?${encodeURIComponent(name)}=${encodeURIComponent(wanted)}`);
  return response.ok ? (await response.json()).map(id => ({ id, name })) : [];
}

function showFound(wanted, hits) {
  const into = by("found");
  const close = make("button", { type: "button", onclick: () => { by("search").value = ""; into.hidden = true; by("search").focus(); } }, text("close"));
  const title = hits.length > 0 ? text("found", number(hits.length), cut(wanted)) : text("foundNone", cut(wanted));
  const lines = hits.map(hit => {
    const item = line({ id: hit.id }, false);
    item.firstChild.append(make("bdi", { class: "member" }, text("by", hit.name)));
    return item;
  });
  into.replaceChildren(make("div", { class: "bar" }, make("h2", {}, title), close), make("ol", { class: "orders" }, ...lines));
  into.hidden = false;
}

/** The members that the service searches by: what it says when it is asked by none. */
async function loadMembers() {
  const description = await (await fetch("openapi.json")).json();
  state.members = description["x-search"] ?? [];
  labelSearch();
}

function labelSearch() {
  const label = text("search", state.members.join(", "));
  by("search").placeholder = label;
  by("search").setAttribute("aria-label", label);
}

// ---- Session

function signedOut() {
  state.signedOut = true;
  state.events?.close();
  connected(false);
  route();
}

async function signIn(event) {
  event.preventDefault();
  const response = await ask("session", { method: "POST", body: new URLSearchParams({ token: by("token").value }) });
  by("token").value = "";
  by("sign-in-error").textContent = response.ok ? "" : text("wrongToken");
  if (!response.ok) { by("token").focus(); return; }
  state.signedOut = false;
  by("sign-out").hidden = false;
  store("signed-in", "yes");
  start();
}

async function signOut() {
  await ask("session", { method: "DELETE" });
  by("sign-out").hidden = true;
  store("signed-in", "");
  by("live-list").replaceChildren();
  signedOut();
}

// ---- Views

function show(view) {
  for (const id of ["sign-in", "live", "page", "order"]) by(id).hidden = id !== view;
  by("overview").hidden = state.signedOut;
  by("search-form").hidden = state.signedOut;
  if (state.signedOut) by("found").hidden = true;
}

function route() {
  const [, view, rest] = /^#\/(order|page)\/(.*)$/.exec(location.hash) ?? [];
  show(state.signedOut ? "sign-in" : view ?? "live");
  document.title = text("title");
  if (state.signedOut) { by("token").focus(); return; }
  let wanted = rest;
  try { wanted = decodeURIComponent(rest ?? ""); } catch { /* as it stands */ }
  if (view === "order") { by("order").replaceChildren(); showOrder(wanted); document.title = text("order", wanted); }
  if (view === "page") { showPage(wanted); document.title = text("page", wanted); }
  if (!view) showLive();
}

function setLanguage(to) {
  language = to;
  store("language", to);
  const other = to === "en" ? "ru" : "en";
  by("language").textContent = other === "ru" ? "Русский" : "English";
  by("language").lang = other;
  translate();
  labelSearch();
  by("pause").textContent = text(state.paused ? "resume" : "pause");
  connected(state.connected || state.events === null);
  showCounters();
  showChart();
  showHealth();
  route();
}

function start() {
  connect();
  loadNewest();
  route();
}

by("language").addEventListener("click", () => setLanguage(language === "en" ? "ru" : "en"));
by("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  by("pause").setAttribute("aria-pressed", String(state.paused));
  by("pause").textContent = text(state.paused ? "resume" : "pause");
  showLive();
});
by("live-list").addEventListener("scroll", schedule, { passive: true });
document.addEventListener("visibilitychange", schedule);
by("search-form").addEventListener("submit", event => { event.preventDefault(); search(); });
let typed = 0;
by("search").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(search, 200); });
by("sign-in-form").addEventListener("submit", signIn);
by("sign-out").addEventListener("click", signOut);
by("sign-out").hidden = stored("signed-in") !== "yes";
window.addEventListener("hashchange", () => { route(); by("main").focus({ preventScroll: true }); scrollTo(0, 0); });
by("skip").addEventListener("click", event => { event.preventDefault(); by("main").focus(); });

setLanguage(language);
loadMembers().catch(() => { /* the search stays unlabelled */ }).finally(start);
setInterval(showHealth, 5000);
