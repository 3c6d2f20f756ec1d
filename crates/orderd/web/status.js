// The state of NATS, PostgreSQL, intake and fill, and its meaning for a reader.

import { $, h } from "./dom.js";
import { since, t } from "./i18n.js";
import { parts } from "./api.js";

const PARTS = ["nats", "postgres", "intake", "fill"];
const OFTEN = 1000;
const SELDOM = 4000;

let report = null;
let connected = true;
let timer = 0;
let drawn = "";
let told = 0;

export function start() {
  poll();
  document.addEventListener("visibilitychange", () => document.hidden || poll());
}

// The feed's own view of the connection.
export function setConnected(now) {
  if (now === connected) return;
  connected = now;
  draw();
  if (now) poll();
}

// The feed's statistics have it too; requests are for when there is no feed.
export function tell(now) {
  report = now;
  told = Date.now();
  draw();
}

export function redraw() {
  drawn = "";
  draw();
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (Date.now() - told < SELDOM) {
    timer = setTimeout(poll, OFTEN);
    return;
  }
  try {
    report = await parts();
  } catch {
    // The banner of the connection says it.
  }
  draw();
  const calm = report && PARTS.every((part) => report[part].up);
  timer = setTimeout(poll, calm ? SELDOM : OFTEN);
}

const key = (part) => part[0].toUpperCase() + part.slice(1);

function draw() {
  const now = JSON.stringify([report, connected]);
  if (now === drawn) return;
  drawn = now;
  $("parts").replaceChildren(...(report ? PARTS.map(chip) : []));
  $("banners").replaceChildren(...banners());
}

function chip(part) {
  const { up } = report[part];
  const word = !connected ? "partUnknown" : up ? "partUp" : part === "fill" && isFilling() ? "partFilling" : "partAway";
  return h("li", { class: !connected ? "unknown" : up ? "up" : "away" }, h("span", { class: "dot", "aria-hidden": "true" }), t(`part${key(part)}`),
    " ", h("span", { class: up || !connected ? "hidden" : "" }, t(word)));
}

// Whether memory has all of the table.
export const isFilled = () => !report || report.fill.up;

const isFilling = () => !report.fill.up && report.fill.rows > 0;

function banners() {
  if (!connected) return [banner("warn", t("disconnected"))];
  if (!report) return [];
  const away = ["nats", "postgres"].filter((part) => !report[part].up);
  // Without NATS there is no intake: one banner is enough.
  if (away.length === 0 && !report.intake.up) away.push("intake");
  const list = away.map((part) => banner("warn",
    t(`away${key(part)}`, { time: since(new Date(report[part].since)) }), report[part].reason));
  if (!report.fill.up) list.push(filling(report.fill));
  return [...list, ...report.warnings.map(({ text }) => banner("warn", t("warning", { text })))];
}

function banner(kind, text, reason) {
  return h("div", { class: `banner ${kind}` }, h("p", {}, text),
    reason ? h("p", { class: "note" }, t("reason", { reason })) : null);
}

function filling(fill) {
  if (fill.rows === 0 && fill.reason && fill.reason !== "starting") return banner("warn", t("fillAway"), fill.reason);
  const known = fill.of > fill.rows;
  const text = known
    ? t("filling", { rows: fill.rows, of: t("ofRows", { count: fill.of }) })
    : t("fillingUnknown", { rows: t("rows", { count: fill.rows }) });
  const bar = h("progress", known ? { max: fill.of, value: fill.rows, "aria-label": t("partFill") } : { "aria-label": t("partFill") });
  return h("div", { class: "banner" }, h("p", {}, text), bar);
}
