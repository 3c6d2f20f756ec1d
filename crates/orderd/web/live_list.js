// The list of what arrives. It takes any rate: events are gathered and shown once a frame, and the table has a
// bounded number of rows. It pauses when asked to, and while one reads further down.

import { $, h, say } from "./dom.js";
import { t } from "./i18n.js";
import { jittered, memLen, page } from "./api.js";
import { List } from "./table.js";
import { isFilled } from "./status.js";

const ROWS = 200;
const FEW = 4;
const PAGE = 50;
const AGAIN = 1000;

export class Live {
  #members;
  #list;
  #coming = [];
  #missed = 0;
  #paused = false;
  #frame = 0;
  #unsaid = 0;
  #loaded = false;
  #loading = false;
  #stale = false;

  constructor(members) {
    this.#members = members;
    $("pause").onclick = () => this.#pause(!this.#paused);
    $("fresh").onclick = () => this.#goOn();
    addEventListener("scroll", () => this.#schedule(), { passive: true });
    this.forget();
  }

  get isLoaded() {
    return this.#loaded;
  }

  // The list may be incomplete: it is rebuilt once nobody reads it.
  refresh() {
    this.#stale = true;
    this.#schedule();
  }

  // Starts from the newest pages: at the beginning, after a reset, after a change of the language.
  clear() {
    // Gathered events are in the newest pages, or older.
    [this.#coming, this.#missed, this.#stale] = [[], 0, false];
    this.#list = new List(this.#members, t("liveTitle"), ROWS);
    // Events that arrive meanwhile wait, or they would be listed below older orders.
    this.#loading = true;
    return this.#load(this.#list);
  }

  async #load(list) {
    if (list !== this.#list) return;
    const orders = await newest().catch(() => null);
    if (list !== this.#list) return;
    this.#loading = false;
    // If it can't be loaded, new orders are shown; the banner shows the reason.
    this.#loaded = orders !== null;
    if (!this.#loaded) setTimeout(() => this.#load(list), jittered(AGAIN));
    list.append(orders ?? []);
    this.#coming = this.#coming.filter((order) => !list.has(order.id));
    this.#place();
    this.#schedule();
  }

  // Signed out: remove everything.
  forget() {
    this.#list = new List(this.#members, t("liveTitle"), ROWS);
    [this.#coming, this.#missed, this.#loaded, this.#loading, this.#stale] = [[], 0, false, false, false];
    $("live-list").replaceChildren();
  }

  add(order) {
    // A page may have had it before its event arrives.
    if (this.#list.has(order.id)) return;
    this.#coming.unshift(order);
    if (this.#coming.length > ROWS) {
      this.#coming.length = ROWS;
      this.#missed += 1;
    }
    this.#schedule();
  }

  #place() {
    const empty = this.#loaded && this.#list.size === 0;
    $("live-list").replaceChildren(empty ? emptyState() : this.#list.table);
  }

  #isHeld() {
    return this.#loading || this.#paused || (!$("view-live").hidden && scrollY > $("live-list").offsetTop);
  }

  #schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      // Nothing was shown yet, so nothing needs to stay.
      const isFirst = this.#stale && !this.#loaded && !this.#loading;
      if (isFirst || !this.#isHeld()) this.#catchUp();
      this.#button();
    });
  }

  #catchUp() {
    if (this.#stale) this.clear();
    else this.#show();
  }

  #show() {
    if (this.#coming.length === 0) return;
    const wasEmpty = this.#list.size === 0;
    const count = this.#coming.length + this.#missed;
    // If many arrive, marking all of them helps nobody.
    this.#list.prepend(this.#coming, this.#coming.length <= FEW);
    this.#coming = [];
    this.#missed = 0;
    if (wasEmpty) this.#place();
    this.#unsaid += count;
    say(t("arrivedSay", { count: this.#unsaid }));
    setTimeout(() => (this.#unsaid = 0), 5000);
  }

  #button() {
    const count = this.#loading ? 0 : this.#coming.length;
    $("fresh").hidden = count === 0;
    if (count === 0) return;
    const text = this.#missed ? t("freshMany", { count: ROWS }) : t("fresh", { count });
    $("fresh").textContent = `↑ ${text}`;
  }

  #pause(paused) {
    this.#paused = paused;
    $("pause").setAttribute("aria-pressed", paused);
    $("pause").dataset.t = paused ? "resume" : "pause";
    $("pause").textContent = t($("pause").dataset.t);
    this.#schedule();
  }

  #goOn() {
    this.#pause(false);
    scrollTo({ top: 0 });
    this.#catchUp();
    this.#button();
  }
}

// The newest two pages, newest first; they have only the ids of their orders.
async function newest() {
  const pages = Math.ceil((await memLen()) / PAGE);
  // Requested by number, so that new orders do not shift the pages.
  const last = pages > 0 ? await page(pages) : [];
  const earlier = pages > 1 ? await page(pages - 1) : [];
  return [...earlier, ...last].reverse().map((id) => ({ id }));
}

function emptyState() {
  if (!isFilled()) return h("div", { class: "empty" }, h("h2", {}, t("emptyFilling")), h("p", {}, t("emptyFillingHow")));
  return h("div", { class: "empty" },
    h("h2", {}, t("empty")), h("p", {}, t("emptyHow")), h("code", {}, "orderd publish --count 10"));
}
