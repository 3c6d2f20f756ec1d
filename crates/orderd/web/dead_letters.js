// Dead letters: refused messages, the reasons, replays, and drops.

import { $, h, line, value } from "./dom.js";
import { dateTime, detail, t, word } from "./i18n.js";
import { deadLetter, deadLetters, drop, replay } from "./api.js";
import { failure } from "./error_view.js";

const LISTED = 50;
const SHOWN = 100_000;

let shown = 0;
let mayReplay = false;
let list = null;
let known = new Set();
// The function that replays each that can still be replayed, by key; and the reason that filters the list.
let senders = new Map();
// Typed corrections that are not accepted yet, by key, so that a sign-in or another view does not lose them.
const drafts = new Map();
let reason = "";
let oldest = 0;

export async function show(signedIn) {
  const mine = ++shown;
  mayReplay = signedIn;
  $("dead-how").textContent = t(mayReplay ? "deadHow" : "deadNoToken");
  $("dead-list").replaceChildren(h("p", { class: "note" }, t("loading")));
  try {
    const letters = await deadLetters();
    const others = await corrected(letters);
    if (mine === shown) begin(letters, others);
  } catch (error) {
    if (mine === shown) $("dead-list").replaceChildren(failure(error, () => show(signedIn)));
  }
}

export function forget() {
  shown += 1;
  list = null;
  $("dead-list").replaceChildren();
}

export const forgetDrafts = () => drafts.clear();

// The dead letters with a typed correction that are not among the newest; one that is gone is left out.
async function corrected(letters) {
  const keys = [...drafts.keys()].filter((key) => !letters.some((letter) => letter.key === key));
  const found = await Promise.all(keys.map((key) => deadLetter(key).catch(() => null)));
  return found.filter((letter) => letter !== null);
}

// New ones are inserted at the top; open ones stay as they are.
export async function refresh() {
  const mine = shown;
  if ($("view-dead").hidden || !list) return;
  const letters = await deadLetters().catch(() => []);
  if (mine !== shown) return;
  const fresh = letters.filter((letter) => !known.has(letter.key));
  if (fresh.length === 0) return;
  if (known.size === 0) return begin(letters);
  list.prepend(...fresh.map(item));
  moreReasons();
}

function begin(letters, others = []) {
  known = new Set();
  senders = new Map();
  list = h("ul", { class: "letters" }, ...others.map(item), ...letters.map(item));
  const empty = h("div", { class: "empty" }, h("h2", {}, t("deadNone")), h("p", {}, t("deadNoneWhy")));
  $("dead-list").replaceChildren(...(known.size > 0 ? [tools(), list] : [empty]), more(letters));
  filter();
}

function tools() {
  return h("div", { class: "letter-tools" }, h("label", { for: "dead-reason" }, t("deadReason")), reasons(), mayReplay ? all() : null);
}

function reasons() {
  const names = [...new Set([...list.children].map((letter) => letter.dataset.reason))].sort();
  if (!names.includes(reason)) reason = "";
  const options = ["", ...names].map((name) =>
    h("option", { value: name, selected: name === reason }, name ? word("reasons", name) : t("deadAllReasons")));
  const select = h("select", { id: "dead-reason" }, ...options);
  select.onchange = () => {
    reason = select.value;
    filter();
  };
  return select;
}

// New ones may have other reasons.
function moreReasons() {
  $("dead-reason")?.replaceWith(reasons());
  filter();
}

function filter() {
  for (const letter of list.children) letter.hidden = reason !== "" && letter.dataset.reason !== reason;
  countUnsent();
}

// The keys of those that are shown and can still be replayed.
const unsent = () => [...list.children].filter((letter) => !letter.hidden && senders.has(letter.dataset.key)).map((letter) => letter.dataset.key);

function countUnsent() {
  const count = unsent().length;
  const button = $("dead-replay-all");
  if (button === null) return;
  button.textContent = t("deadReplayAll", { count });
  button.hidden = count === 0;
}

// Replays them one by one, so that the service has time for other requests.
function all() {
  const outcome = h("span", { class: "note", role: "status" });
  const button = h("button", { type: "button", id: "dead-replay-all" });
  button.onclick = async () => {
    button.disabled = true;
    const mine = shown;
    const keys = unsent();
    let taken = 0;
    for (const [index, key] of keys.entries()) {
      if (mine !== shown) return;
      outcome.textContent = t("deadProgress", { sent: index, count: keys.length });
      taken += Number((await senders.get(key)?.()) === "taken_in");
    }
    outcome.textContent = t("deadAllSent", { taken, count: keys.length });
    button.disabled = false;
  };
  return h("div", { class: "letter-do" }, button, outcome);
}

function more(letters) {
  if (letters.length > 0) oldest = letters.at(-1).number;
  const button = h("button", { type: "button", hidden: letters.length < LISTED }, t("deadMore"));
  button.onclick = async () => {
    const mine = shown;
    const earlier = await deadLetters(oldest).catch(() => null);
    if (mine !== shown || !earlier) return;
    list.append(...earlier.filter((letter) => !known.has(letter.key)).map(item));
    moreReasons();
    button.replaceWith(more(earlier));
  };
  return button;
}

function item(letter) {
  known.add(letter.key);
  const at = new Date(letter.time);
  const when = Number.isNaN(at.getTime())
    ? h("span", { class: "note" }, letter.time)
    : h("time", { class: "note", datetime: at.toISOString() }, dateTime(at));
  return h("li", { class: "panel letter", "data-key": letter.key, "data-reason": letter.reason },
    h("div", { class: "letter-head" }, h("h2", {}, word("reasons", letter.reason)), when),
    h("p", {}, letter.path ? value(line(letter.path), { class: "id" }) : null, " ", value(detail(letter.detail)),
      letter.offset === null ? null : h("span", { class: "note" }, ` (${t("deadByte", { offset: letter.offset })})`)),
    h("p", { class: "note" }, value(letter.key, { class: "id" }), " · ", value(letter.subject), " · ",
      letter.bytes === null ? "" : t("deadBytes", { count: letter.bytes })),
    payload(letter.key),
    mayReplay ? again(letter) : null);
}

// Fetched when opened, because it may have a mebibyte.
function payload(key) {
  const text = h("pre", { tabindex: 0, role: "group", "aria-label": t("deadPayload") }, t("loading"));
  const details = h("details", {}, h("summary", {}, t("deadPayload")), text);
  details.addEventListener("toggle", async () => {
    const letter = await deadLetter(key).catch(() => null);
    const whole = letter ? letter.payload ?? `base64: ${letter.payload_base64}` : t("deadGone");
    text.textContent = whole.length > SHOWN ? `${whole.slice(0, SHOWN)}…` : whole;
  }, { once: true });
  return details;
}

function again(letter) {
  const outcome = h("span", { class: "note", role: "status", tabindex: -1 });
  const button = h("button", { type: "button", "aria-label": `${t("deadReplay")} ${letter.key}` }, t("deadReplay"));
  const send = async (document) => {
    button.disabled = true;
    outcome.textContent = t("deadSent");
    const became = await replayed(letter.key, document);
    outcome.replaceChildren(...words(became));
    if (became.outcome === "taken_in") {
      const href = `#/order/${encodeURIComponent(letter.key)}`;
      button.replaceWith(h("a", { href }, t("deadOpen")));
      leave();
    }
    if (["taken_in", "gone"].includes(became.outcome)) senders.delete(letter.key);
    countUnsent();
    button.disabled = false;
    return became.outcome;
  };
  const correct = correction(letter, send);
  button.onclick = () => send();
  const discard = h("button", { type: "button", "aria-label": `${t("deadDrop")} ${letter.key}` }, t("deadDrop"));
  // Nothing else can be done about a message that has left the dead letters.
  const leave = () => {
    correct.remove();
    discard.remove();
    drafts.delete(letter.key);
  };
  discard.onclick = async () => {
    if (!(await confirmed(t("deadDropAsk", { key: letter.key })))) return;
    discard.disabled = true;
    outcome.textContent = t("deadDropping");
    const became = await dropped(letter.key);
    outcome.textContent = t(OUTCOMES[became]);
    discard.disabled = false;
    if (!["dropped", "gone"].includes(became)) return;
    senders.delete(letter.key);
    countUnsent();
    button.remove();
    leave();
    // The focused button is gone.
    outcome.focus();
  };
  // A typed correction counts here too.
  senders.set(letter.key, () => send(drafts.get(letter.key)?.trim() ? drafts.get(letter.key) : undefined));
  return h("div", {}, h("div", { class: "letter-do" }, button, discard, outcome), correct);
}

// Asks before a drop, which can't be undone.
function confirmed(question) {
  return new Promise((answer) => {
    const yes = h("button", { type: "button", class: "primary" }, t("deadDrop"));
    const no = h("button", { type: "button", autofocus: true }, t("deadKeep"));
    const dialog = h("dialog", { class: "panel", "aria-labelledby": "question" },
      h("p", { id: "question" }, question), h("div", { class: "letter-do" }, yes, no));
    const close = () => dialog.close();
    yes.onclick = () => dialog.close("yes");
    no.onclick = close;
    dialog.onclose = () => {
      removeEventListener("hashchange", close);
      dialog.remove();
      answer(dialog.returnValue === "yes");
    };
    // Another view has other questions.
    addEventListener("hashchange", close);
    document.body.append(dialog);
    dialog.showModal();
  });
}

// The document to send instead of the payload.
function correction(letter, send) {
  const text = h("textarea", { rows: 8, spellcheck: "false", "aria-label": `${t("deadCorrected")} ${letter.key}` });
  const button = h("button", { type: "button", "aria-label": `${t("deadSendCorrected")} ${letter.key}` }, t("deadSendCorrected"));
  text.value = drafts.get(letter.key) ?? "";
  text.oninput = () => drafts.set(letter.key, text.value);
  button.onclick = () => text.value.trim() && send(text.value);
  const details = h("details", { class: "correct", open: text.value !== "" }, h("summary", {}, t("deadCorrect")), text, button);
  details.addEventListener("toggle", async () => {
    const whole = await deadLetter(letter.key).catch(() => null);
    if (!text.value) text.value = whole?.payload ?? "";
  }, { once: true });
  return details;
}

// The service answers once it has accepted or refused the message.
async function replayed(key, document) {
  try {
    return await replay(key, document);
  } catch (error) {
    return { outcome: failed(error) };
  }
}

async function dropped(key) {
  try {
    await drop(key);
    return "dropped";
  } catch (error) {
    return failed(error);
  }
}

const failed = (error) => ({ 403: "forbidden", 404: "gone" })[error.status] ?? "failed";

const OUTCOMES = {
  taken_in: "deadTaken", refused: "deadStill", undecided: "deadUndecided", too_large: "deadTooLarge", not_sent: "deadNotSent",
  gone: "deadGone", dropped: "deadDropped", forbidden: "deadForbidden", failed: "tryLater",
};

function words(became) {
  const said = t(OUTCOMES[became.outcome] ?? "tryLater");
  if (became.outcome !== "refused") return [said];
  return [`${said} ${word("reasons", became.reason)} `, became.path ? value(line(became.path), { class: "id" }) : null].filter(Boolean);
}
