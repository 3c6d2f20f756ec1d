"use strict";

// The live list: the newest orders, and those that come. It keeps still when one reads.

const SHOWN = 200;

function isStill() {
  return state.paused || by("live-list").scrollTop > 40 || document.hidden;
}

function arrive(order) {
  if (state.waiting.length >= SHOWN) state.waiting.shift();
  state.waiting.push(order);
  state.missed += 1;
  schedule();
}

function schedule() {
  if (!state.frame) state.frame = requestAnimationFrame(() => { state.frame = 0; showLive(); });
}

function showLive() {
  const list = by("live-list");
  if (!isStill() && state.waiting.length > 0) {
    const present = new Set([...list.children].slice(0, SHOWN).map(item => item.dataset.id));
    const fresh = state.waiting.filter(order => !present.has(order.id));
    const lines = fresh.map(order => { const item = line(order, true); item.dataset.id = order.id; return item; });
    list.prepend(...lines.reverse());
    while (list.children.length > SHOWN) list.lastChild.remove();
    state.waiting = [];
    state.missed = 0;
  }
  liveNote();
}

function liveNote() {
  const skipped = state.stats ? state.stats.skipped - (state.skippedFrom ?? state.stats.skipped) : 0;
  let note = "";
  if (state.paused) note = text("paused", number(state.missed));
  else if (state.missed > 0 && by("live-list").scrollTop > 40) note = text("scrolled", number(state.missed));
  else if (skipped > 0) note = text("skipped", number(skipped));
  if (by("live-note").textContent !== note) by("live-note").textContent = note;
  emptyNote();
}

function emptyNote() {
  const empty = by("live-empty");
  const none = by("live-list").children.length === 0 && !state.signedOut;
  empty.hidden = !none;
  if (!none) return;
  const fill = state.health?.fill;
  const lines = fill && !fill.up
    ? [text("filling", number(fill.rows), number(Math.max(fill.of, fill.rows)))]
    : [text("none"), text("noneHow")];
  empty.replaceChildren(...lines.map(line => make("p", {}, line)));
}

/** The newest orders that are there already: those of the last pages. */
async function loadNewest() {
  const list = by("live-list");
  try {
    const last = await ask("order_pages/last");
    if (!last.ok && last.status !== 404) return;
    let ids = last.ok ? await last.json() : [];
    if (ids.length < PAGE && ids.length > 0) ids = [...await pageBefore(ids), ...ids];
    list.replaceChildren(...ids.reverse().map(id => { const item = line({ id }, false); item.dataset.id = id; return item; }));
  } catch (error) {
    failed(by("live-empty"), error.message, loadNewest);
    return;
  }
  showLive();
}

async function pageBefore(ids) {
  const count = (await (await ask("mem_len")).json()).mem_len;
  const before = Math.ceil(count / PAGE) - 1;
  if (before < 1) return [];
  const page = await ask(`order_pages/${before}`);
  return page.ok ? (await page.json()).filter(id => !ids.includes(id)) : [];
}

function connect() {
  state.events?.close();
  const events = new EventSource("events");
  state.events = events;
  events.onopen = () => connected(true);
  events.onerror = () => {
    connected(false);
    // The browser tries again by itself, unless it was refused.
    if (events.readyState === EventSource.CLOSED) setTimeout(refused, 2000);
  };
  events.addEventListener("order", event => arrive(JSON.parse(event.data)));
  events.addEventListener("reset", () => { state.waiting = []; state.missed = 0; loadNewest(); });
  events.addEventListener("stats", event => showStats(JSON.parse(event.data)));
}

async function refused() {
  try {
    if ((await ask("mem_len")).status === 401) return;
  } catch { /* still away */ }
  connect();
}

function connected(is) {
  state.connected = is;
  const banner = by("banner");
  banner.hidden = is || state.signedOut;
  banner.textContent = banner.hidden ? "" : text("disconnected");
}
