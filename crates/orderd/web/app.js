// The page: chooses the view, and passes data to it.

import { $ } from "./dom.js";
import * as i18n from "./i18n.js";
import { about, jittered, onSignInNeeded } from "./api.js";
import { Chart } from "./chart.js";
import { Events } from "./events.js";
import { setHasModel } from "./json.js";
import { Live } from "./live_list.js";
import * as deadLetters from "./dead_letters.js";
import * as order from "./order.js";
import * as pages from "./order_pages.js";
import * as query from "./query.js";
import * as quickSearch from "./quick_search.js";
import * as status from "./status.js";
import { fail, hasSignedIn, note, wire as wireSession } from "./sign_in.js";

const { t, number } = i18n;
let known = { guarded: false, signedIn: true, lacksRead: false, replay: false, search: [], types: [], schema: {}, model: "order" };
const [UNKNOWN, AGAIN] = ["–", 1000];
let live = null;
let stats = null;
// Whether memory had the whole table when these were rendered, as far as this run of the service has reported.
let filled = null;
let charts = null;
// The text of a sign-in for an action that needs a further right, though the user may read; another view ends it.
let asked = null;

const events = new Events({
  order: (data) => live.add(data),
  stats: (data) => figures(data),
  reset: () => {
    // The next figures are compared with nothing, so that no list misses a change.
    [filled, stats] = [filled && false, null];
    live.refresh();
  },
  state: (connected) => {
    status.setConnected(connected);
    if (!connected && !live.isLoaded) live.refresh();
  },
  closed: nothingKnown,
});

// `#/`, `#/page/3`, `#/order/ID`, `#/search/TEXT`, `#/find?QUERY`; anything else means the first.
function route() {
  const [, name = "", rest = ""] = /^#\/(\w*)(?:[/?](.*))?$/.exec(location.hash) ?? [];
  if (name === "page" && /^(\d{1,15}|last)$/.test(rest)) return { view: "page", at: rest };
  if (name === "find") return { view: "find", at: rest };
  if (name === "dead") return { view: "dead" };
  if (name === "order" && location.hash.startsWith("#/order/")) return { view: "order", at: decoded(rest) };
  if (name === "search" && rest) return { view: "live", sought: decoded(rest) };
  return { view: "live" };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show(focus) {
  const needed = (known.guarded && !known.signedIn) || asked !== null;
  $("loading").hidden = true;
  const { view, at, sought } = needed ? { view: "signin" } : route();
  for (const name of ["signin", "live", "page", "find", "dead", "order"]) $(`view-${name}`).hidden = name !== view;
  document.querySelectorAll("nav [data-view]").forEach((link) =>
    link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));
  $("search").disabled = needed;
  $("sign-out").hidden = !hasSignedIn() && !(known.guarded && known.signedIn);
  $("signin-why").dataset.t = asked ?? (known.lacksRead ? "cannotRead" : "signInWhy");
  i18n.translate($("view-signin"));
  document.title = i18n.title();
  if (view === "page") pages.show(at, known.search);
  if (view === "find") query.show(at);
  if (view === "dead") deadLetters.show(known.replay);
  if (view === "order") order.show(at, known.search);
  if (sought) quickSearch.run(sought);
  else if (focus) quickSearch.clear();
  if (view === "signin") $("token").focus();
  else if (focus) $("main").focus({ preventScroll: true });
  if (focus) scrollTo({ top: 0 });
}

// Without the connection, the state is unknown.
function nothingKnown() {
  stats = null;
  for (const figure of ["orders", "rate", "commit", "lag", "dead"]) $(`fig-${figure}`).textContent = UNKNOWN;
  $("sampled").hidden = true;
  charts.rate.add(null);
  charts.commit.add(null);
}

// The list of dead letters is read again after so many `stats`, which come once a second.
const STATS_PER_LIST = 10;
let statsSinceList = 0;

function figures(data) {
  // The newest pages change once memory has the whole table, and so does the message of an empty list.
  status.tell(data.parts);
  const { up } = data.parts.fill;
  if (filled === null ? !up : !filled && up) live.refresh();
  filled = up;
  // Their number may stay the same while some come and others go.
  statsSinceList += 1;
  if (data.dead_letters !== stats?.dead_letters || statsSinceList >= STATS_PER_LIST) {
    statsSinceList = 0;
    deadLetters.refresh();
  }
  stats = data;
  const { rate, commit } = showFigures();
  charts.rate.add(rate);
  charts.commit.add(commit);
  showBeginning();
}

// From when the charts are.
function showBeginning() {
  const { began } = charts.rate;
  if (began === undefined) return;
  $("charts-began").textContent = began ? t("chartsBegan", { time: i18n.since(began) }) : t("chartsFull");
}

// The figures that are known. Without NATS or the intake, that nothing was taken in does not mean that nothing arrives; an
// intake that is only held up by a dead letter still takes in orders.
function showFigures() {
  const { nats, postgres, intake } = stats.parts;
  const isRateKnown = nats.up && (intake.up || stats.orders_per_second > 0);
  const shown = (figure, value, text = number) => {
    $(`fig-${figure}`).textContent = value === null ? UNKNOWN : text(value);
    return value;
  };
  const rate = shown("rate", isRateKnown ? stats.orders_per_second : null, (value) => t("perSecond", { value: number(value) }));
  const commit = shown("commit", postgres.up ? stats.commit_ms : null, (value) => t("ms", { value: number(value) }));
  shown("orders", stats.mem_len);
  shown("lag", nats.up && postgres.up && intake.up ? stats.lag : null);
  shown("dead", nats.up ? stats.dead_letters : null);
  $("sampled").hidden = rate === null || rate <= 100;
  $("sampled").textContent = t("sampled", { shown: 100, all: number(Math.round(rate)) });
  return { rate, commit };
}

function open() {
  live ??= new Live(known.search);
  events.start();
  show(false);
}

// With 401 there is no session, with 403 it lacks the right. A user who may read can read on without signing in.
function closed(right, status) {
  fail(null);
  if (status === 401) note(false);
  if (right === "read") known.guarded = true;
  else if (!known.guarded || status === 403) {
    asked = status === 403 ? "signInReplayToo" : "signInReplay";
    show(true);
    return;
  }
  events.stop();
  [known.signedIn, known.lacksRead] = [false, status === 403];
  live?.forget();
  $("view-order").replaceChildren();
  $("page-list").replaceChildren();
  deadLetters.forget();
  query.forget();
  quickSearch.clear();
  show(true);
}

async function begin() {
  i18n.translate();
  i18n.wireSwitch($("language"));
  charts = { rate: new Chart($("chart-rate"), "chartRate"), commit: new Chart($("chart-commit"), "chartCommit") };
  pages.wire();
  wireSession(() => {
    [known.signedIn, known.lacksRead, asked] = [true, false, null];
    open();
  }, () => {
    deadLetters.abandon();
    closed();
  });
  onSignInNeeded((right, status) => known.signedIn && closed(right, status));
  $("skip").onclick = (event) => {
    event.preventDefault();
    $("main").focus();
  };
  i18n.onLanguage(() => {
    status.redraw();
    live?.clear();
    quickSearch.again();
    if (stats) showFigures();
    showBeginning();
    Object.values(charts).forEach((chart) => chart.redraw());
    show(false);
  });
  addEventListener("hashchange", () => {
    asked = null;
    show(true);
  });
  status.start();
  known = await answered();
  i18n.setModel(known.model);
  setHasModel(Object.keys(known.schema.properties ?? {}).length > 0);
  quickSearch.wire(known, () => show(false));
  query.wire(known);
  if (known.guarded && !known.signedIn) show(false);
  else open();
}

// The service may be starting just now.
async function answered() {
  for (;;) {
    try {
      const answer = await about();
      status.setConnected(true);
      return answer;
    } catch {
      status.setConnected(false);
      await new Promise((resolve) => setTimeout(resolve, jittered(AGAIN)));
    }
  }
}

begin();
