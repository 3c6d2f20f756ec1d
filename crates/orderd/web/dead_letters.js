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
// What can be done about each that still waits, by key; and the reason that filters the list.
let actions = new Map();
// Typed corrections that are not accepted yet, by key, so that a sign-in or another view does not lose them.
const drafts = new Map();
let reason = "";
// Actions that go on when the list is shown again: after the sign-in that they asked for, or in another language. Another
// view ends them.
let unfinished = [];
// Replays or drops several of the list.
let runBulk = null;
// The task of the bulk action, also once it has ended; null in another view.
let bulk = null;
// The numbers of the oldest and of the newest that were listed.
let oldest = 0;
let newest = 0;

export async function show(signedIn) {
  const mine = ++shown;
  mayReplay = signedIn;
  $("dead-how").textContent = t(mayReplay ? "deadHow" : "deadNoToken");
  $("dead-list").replaceChildren(h("p", { class: "note" }, t("loading")));
  try {
    // In another language, a bulk action goes on in the new list after the message that it is at.
    await bulk?.stopped;
    const letters = await listed();
    const others = await corrected(letters);
    if (mine !== shown) return;
    begin(letters, others);
    await finish();
  } catch (error) {
    if (mine === shown) $("dead-list").replaceChildren(failure(error, () => show(signedIn)));
  }
}

export function forget() {
  shown += 1;
  list = null;
  $("dead-list").replaceChildren();
}

// Signed out by the user: nothing that was typed or confirmed is left for another one.
export function abandon() {
  drafts.clear();
  endActions();
}

addEventListener("hashchange", endActions);

function endActions() {
  bulk = null;
  keep([]);
}

// The sign-in tells that actions go on after it.
function keep(actions) {
  unfinished = actions;
  $("signin-pending").hidden = actions.length === 0;
}

// The newest. Those of an unfinished action may be older: then as many as before.
async function listed() {
  const until = unfinished.length > 0 ? oldest : Infinity;
  const letters = [];
  for (let before;;) {
    const page = await deadLetters(before);
    letters.push(...page);
    before = page.at(-1)?.number;
    if (page.length < LISTED || before <= until) return letters;
  }
}

async function finish() {
  const actions = unfinished;
  keep([]);
  for (const [index, action] of actions.entries()) {
    await action();
    if (unfinished.length > 0) {
      keep([...unfinished, ...actions.slice(index + 1)]);
      return;
    }
  }
}

const needsToken = (outcome) => ["signed_out", "forbidden"].includes(outcome);

// Whether the page has asked for a token. The action goes on after the sign-in.
function isUnfinished(outcome, action) {
  const asked = needsToken(outcome) && !$("view-signin").hidden;
  if (asked) keep([...unfinished, action]);
  return asked;
}

// Replays or drops one of them.
async function runSingle(key, act) {
  const letter = actions.get(key);
  if (!letter || isUnfinished(await act(letter), () => runSingle(key, act))) return;
  // The button that had the focus was disabled or is gone.
  if (document.activeElement === document.body) letter.outcome.focus();
}

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
  // After a drop or a replay, the newest listed are followed by older ones that the user has not asked for.
  const fresh = letters.filter((letter) => letter.number > newest && !known.has(letter.key));
  if (fresh.length === 0) return;
  if (known.size === 0) return begin(letters);
  newest = fresh[0].number;
  list.prepend(...fresh.map(item));
  moreReasons();
}

function begin(letters, others = []) {
  known = new Set();
  actions = new Map();
  runBulk = null;
  newest = letters[0]?.number ?? 0;
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
    // It was about others.
    $("dead-said")?.replaceChildren();
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
  countWaiting();
}

// The keys of those that are shown and can still be replayed or dropped.
function waiting() {
  // Without a session there is no list.
  const letters = [...(list?.children ?? [])].filter((letter) => !letter.hidden);
  return letters.map((letter) => letter.dataset.key).filter((key) => actions.has(key));
}

function countWaiting() {
  const count = waiting().length;
  for (const [id, key] of [["dead-replay-all", "deadReplayAll"], ["dead-drop-all", "deadDropAll"]]) {
    const button = $(id);
    if (button === null) return;
    button.textContent = t(key, { count });
    button.hidden = count === 0;
  }
}

// Replays or drops them one by one, so that the service has time for other requests.
function all() {
  const outcome = h("span", { id: "dead-said", class: "note", role: "status", tabindex: -1 });
  const replayAll = h("button", { type: "button", id: "dead-replay-all" });
  const dropAll = h("button", { type: "button", id: "dead-drop-all" });
  const run = async (task) => {
    const { keys, act, wanted, progress, end } = task;
    replayAll.disabled = dropAll.disabled = true;
    const mine = shown;
    while (task.next < keys.length) {
      outcome.textContent = t(progress, { sent: task.next, count: keys.length });
      const letter = actions.get(keys[task.next]);
      const became = letter && (await act(letter));
      if (isUnfinished(became, () => runBulk?.(task)) || needsToken(became)) break;
      task.done += Number(became === wanted);
      task.next += 1;
      // The list is rendered again: by a change of the language, the action goes on there.
      if (mine !== shown) {
        if (task === bulk) keep([...unfinished, () => runBulk?.(task)]);
        return;
      }
    }
    outcome.textContent = t(end, { done: task.done, count: keys.length });
    replayAll.disabled = dropAll.disabled = false;
    // The button that had the focus is hidden if nothing is left.
    if (document.activeElement === document.body) outcome.focus();
  };
  runBulk = (task) => {
    bulk = task;
    return (task.stopped = run(task));
  };
  replayAll.onclick = () => runBulk({
    keys: waiting(), next: 0, done: 0, act: (letter) => letter.sendTyped(), wanted: "taken_in", progress: "deadProgress", end: "deadAllSent",
  });
  dropAll.onclick = async () => {
    const keys = waiting();
    if (!(await confirmed(t("deadDropAllAsk", { count: keys.length })))) return;
    await runBulk({
      keys, next: 0, done: 0, act: (letter) => letter.drop(), wanted: "dropped", progress: "deadDropProgress", end: "deadAllDropped",
    });
  };
  return h("div", { class: "letter-do" }, replayAll, dropAll, outcome);
}

function more(letters) {
  if (letters.length > 0) oldest = letters.at(-1).number;
  const isLast = letters.length === 0 || letters.length % LISTED > 0;
  const button = h("button", { type: "button", hidden: isLast }, t("deadMore"));
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
    h("p", {}, ...why(letter).flatMap((part) => [part, " "])),
    h("p", { class: "note" }, `${t("key")} `, value(letter.key, { class: "id" }), " · ", value(letter.subject), " · ",
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
    outcome.replaceChildren(...words(became, document));
    if (became.outcome === "taken_in") {
      const href = `#/order/${encodeURIComponent(letter.key)}`;
      button.replaceWith(h("a", { href }, t("deadOpen")));
      removeControls();
    }
    if (["taken_in", "gone"].includes(became.outcome)) actions.delete(letter.key);
    countWaiting();
    button.disabled = false;
    return became.outcome;
  };
  const correct = correction(letter);
  button.onclick = () => runSingle(letter.key, (found) => found.send());
  const dropButton = h("button", { type: "button", "aria-label": `${t("deadDrop")} ${letter.key}` }, t("deadDrop"));
  // Nothing else can be done about a message that has left the dead letters.
  const removeControls = () => {
    correct.remove();
    dropButton.remove();
    drafts.delete(letter.key);
  };
  const dropLetter = async () => {
    dropButton.disabled = true;
    outcome.textContent = t("deadDropping");
    const became = await dropped(letter.key);
    outcome.textContent = t(OUTCOMES[became]);
    dropButton.disabled = false;
    if (!["dropped", "gone"].includes(became)) return became;
    actions.delete(letter.key);
    countWaiting();
    button.remove();
    removeControls();
    return became;
  };
  dropButton.onclick = async () => {
    if (!(await confirmed(t("deadDropAsk", { key: letter.key })))) return;
    await runSingle(letter.key, (found) => found.drop());
  };
  // A typed correction counts here too.
  const sendTyped = () => send(drafts.get(letter.key)?.trim() ? drafts.get(letter.key) : undefined);
  actions.set(letter.key, { outcome, send, sendTyped, drop: dropLetter });
  return h("div", {}, h("div", { class: "letter-do" }, button, dropButton, outcome), correct);
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
    // Leaving the view is not consent.
    addEventListener("hashchange", close);
    document.body.append(dialog);
    dialog.showModal();
  });
}

// The document to send instead of the payload.
function correction(letter) {
  const text = h("textarea", { rows: 8, spellcheck: "false", "aria-label": `${t("deadCorrected")} ${letter.key}` });
  const button = h("button", { type: "button", "aria-label": `${t("deadSendCorrected")} ${letter.key}` }, t("deadSendCorrected"));
  text.value = drafts.get(letter.key) ?? "";
  text.oninput = () => drafts.set(letter.key, text.value);
  button.onclick = () => {
    const typed = text.value;
    if (typed.trim()) runSingle(letter.key, (found) => found.send(typed));
  };
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

function failed(error) {
  if (error.lacksRight) return "forbidden";
  return { 401: "signed_out", 404: "gone" }[error.status] ?? (error.mayPass ? "no_answer" : "failed");
}

const OUTCOMES = {
  taken_in: "deadTaken", refused: "deadStill", undecided: "deadUndecided", too_large: "deadTooLarge", not_sent: "deadNotSent",
  gone: "deadGone", dropped: "deadDropped", signed_out: "deadSignedOut", forbidden: "deadForbidden", no_answer: "tryLater", failed: "failed",
};

// `document` is what was sent in place of the payload, if anything.
function words(became, document) {
  const said = t(OUTCOMES[became.outcome] ?? "tryLater");
  if (became.outcome !== "refused") return [said];
  const causes = WITHOUT_DETAIL.includes(became.reason) ? [] : why(became, document);
  const parts = causes.flatMap((part) => [" ", part]);
  return [`${said} ${word("reasons", became.reason)}${parts.length > 0 ? ":" : ""}`, ...parts];
}

// Reasons that only replays have. Their labels say it all; their details would repeat it in English.
const WITHOUT_DETAIL = ["empty", "foreign_key", "dropped", "key_taken", "no_room", "not_stored", "not_reported"];

// The member, what is wrong with it, and where that is: in a line of what was typed, or at a byte of the payload.
function why({ path, detail: text, offset = null }, document) {
  const at = offset === null ? "" : document === undefined ? t("deadByte", { offset }) : t("deadLine", position(document, offset));
  return [path && value(line(path), { class: "id" }), text && value(detail(text)), at && h("span", { class: "note" }, `(${at})`)].filter(Boolean);
}

// The line and the column of a byte, counted from 1.
function position(text, offset) {
  const lines = new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, offset)).split("\n");
  return { line: lines.length, column: [...lines.at(-1)].length + 1 };
}
