// Dead letters: what could not be taken in and why, and back into the topic after a fix.

import { $, h, line, value } from "./dom.js";
import { dateTime, detail, t, word } from "./i18n.js";
import { deadLetter, deadLetters, replay } from "./api.js";
import { failure } from "./failure.js";

const LISTED = 50;
const SHOWN = 100_000;

let shown = 0;
let mayReplay = false;
let list = null;
let known = new Set();
let oldest = 0;

export async function show(signedIn) {
  const mine = ++shown;
  mayReplay = signedIn;
  $("dead-how").textContent = t(mayReplay ? "deadHow" : "deadNoToken");
  $("dead-list").replaceChildren(h("p", { class: "note" }, t("loading")));
  try {
    const letters = await deadLetters();
    if (mine === shown) begin(letters);
  } catch (error) {
    if (mine === shown) $("dead-list").replaceChildren(failure(error, () => show(signedIn)));
  }
}

export function forget() {
  shown += 1;
  list = null;
  $("dead-list").replaceChildren();
}

// There may be new ones: they go on top, and what one reads or has opened stays as it is.
export async function refresh() {
  const mine = shown;
  if ($("view-dead").hidden || !list) return;
  const letters = await deadLetters().catch(() => []);
  if (mine !== shown) return;
  const fresh = letters.filter((letter) => !known.has(letter.key));
  if (fresh.length === 0) return;
  if (known.size === 0) return begin(letters);
  list.prepend(...fresh.map(item));
}

function begin(letters) {
  known = new Set();
  list = h("ul", { class: "letters" }, ...letters.map(item));
  const empty = h("div", { class: "empty" }, h("h2", {}, t("deadNone")), h("p", {}, t("deadNoneWhy")));
  $("dead-list").replaceChildren(letters.length > 0 ? list : empty, more(letters));
}

function more(letters) {
  if (letters.length > 0) oldest = letters.at(-1).number;
  const button = h("button", { type: "button", hidden: letters.length < LISTED }, t("deadMore"));
  button.onclick = async () => {
    const mine = shown;
    const earlier = await deadLetters(oldest).catch(() => null);
    if (mine !== shown || !earlier) return;
    list.append(...earlier.map(item));
    button.replaceWith(more(earlier));
  };
  return button;
}

function item(letter) {
  known.add(letter.key);
  const at = new Date(letter.time);
  const when = Number.isNaN(at.getTime()) ? letter.time : dateTime(at);
  return h("li", { class: "panel letter" },
    h("div", { class: "letter-head" }, h("h2", {}, word("reasons", letter.reason)), h("time", { class: "note", datetime: letter.time }, when)),
    h("p", {}, letter.path ? value(line(letter.path), { class: "id" }) : null, " ", value(detail(letter.detail)),
      letter.offset === null ? null : h("span", { class: "note" }, ` (${t("deadByte", { offset: letter.offset })})`)),
    h("p", { class: "note" }, value(letter.key, { class: "id" }), " · ", value(letter.subject), " · ",
      letter.bytes === null ? "" : t("deadBytes", { count: letter.bytes })),
    payload(letter.key),
    mayReplay ? again(letter) : null);
}

// Asked for when it is opened: it may be a mebibyte.
function payload(key) {
  const text = h("pre", { tabindex: 0, "aria-label": t("deadPayload") }, t("loading"));
  const details = h("details", {}, h("summary", {}, t("deadPayload")), text);
  details.addEventListener("toggle", async () => {
    const letter = await deadLetter(key).catch(() => null);
    const whole = letter ? letter.payload ?? `base64: ${letter.payload_base64}` : t("deadGone");
    text.textContent = whole.length > SHOWN ? `${whole.slice(0, SHOWN)}…` : whole;
  }, { once: true });
  return details;
}

function again(letter) {
  const outcome = h("span", { class: "note", role: "status" });
  const button = h("button", { type: "button", "aria-label": `${t("deadReplay")} ${letter.key}` }, t("deadReplay"));
  button.onclick = async () => {
    button.disabled = true;
    outcome.textContent = t("deadSent");
    const became = await replayed(letter.key);
    outcome.replaceChildren(...words(became));
    if (became.outcome === "taken_in") {
      const href = `#/order/${encodeURIComponent(letter.key)}`;
      button.replaceWith(h("a", { href }, t("deadOpen")));
    }
    button.disabled = false;
  };
  return h("div", { class: "letter-do" }, button, outcome);
}

// The service answers once it has taken it in or refused it again.
async function replayed(key) {
  try {
    return await replay(key);
  } catch (error) {
    return { outcome: error.status === 404 ? "gone" : "failed" };
  }
}

const OUTCOMES = {
  taken_in: "deadTaken", refused: "deadStill", undecided: "deadUndecided", too_large: "deadTooLarge", not_sent: "deadNotSent",
  gone: "deadGone", failed: "tryLater",
};

function words(became) {
  const said = t(OUTCOMES[became.outcome] ?? "tryLater");
  if (became.outcome !== "refused") return [said];
  return [`${said} ${word("reasons", became.reason)} `, became.path ? value(line(became.path), { class: "id" }) : null].filter(Boolean);
}
