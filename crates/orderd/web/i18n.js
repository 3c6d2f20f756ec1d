// English and Russian. Elements with `data-t` are translated again when the language changes.

import { en } from "./en.js";
import { path } from "./json.js";
import { ru } from "./ru.js";

const LANGUAGES = { en, ru };
const KEPT = "orderd-language";

let language = start();
// The name of documents; `order` is the built-in model, for which the page has texts.
let model = "order";
const ANY = "document";

export function setModel(name) {
  model = name;
  translate();
}

// The title of the window.
export const title = () => (isOrder() || model === ANY ? "orderd" : `${capital(model)} · orderd`);
const isOrder = () => model === "order";

function start() {
  const kept = stored();
  if (kept in LANGUAGES) return kept;
  return navigator.language.toLowerCase().startsWith("ru") ? "ru" : "en";
}

// Without storage, the language is the browser's.
function stored() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

const listeners = [];
export const onLanguage = (listener) => listeners.push(listener);
export const lang = () => language;

export function switchLanguage() {
  language = language === "en" ? "ru" : "en";
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    // The choice then lasts as long as the page.
  }
  translate();
  listeners.forEach((listener) => listener());
}

// The button that switches the language. Its label is in the other language.
export function wireSwitch(button) {
  const label = () => {
    button.textContent = t("otherShort");
    button.setAttribute("aria-label", `${t("otherShort")} · ${t("other")}`);
    button.lang = language === "en" ? "ru" : "en";
  };
  button.onclick = switchLanguage;
  onLanguage(label);
  label();
}

// `{name}` is replaced by a value; of a text with plural forms, the form for `count` is used.
export function t(key, values = {}) {
  const neutral = isOrder() ? undefined : LANGUAGES[language].neutral[key];
  // Documents of any form have no other name.
  const called = model === ANY ? LANGUAGES[language].document.toLowerCase() : model;
  let message = neutral ?? LANGUAGES[language][key] ?? en[key] ?? key;
  if (typeof message === "object") {
    message = message[format(Intl.PluralRules, {}).select(values.count)] ?? message.other;
  }
  const shown = (value) => (typeof value === "number" ? number(value) : value ?? "");
  if (neutral !== undefined && model === ANY) message = message.replace(/ \(\{model\}\)|: \{model\}/, "");
  return message.replace(/\{(\w+)\}/g, (_, name) => (name === "model" ? called : shown(values[name])));
}

// A heading begins with a capital letter.
export function capital(text) {
  const [first = "", ...rest] = text;
  return first.toLocaleUpperCase(language) + rest.join("");
}

export function translate(root = document) {
  document.documentElement.lang = language;
  root.querySelectorAll("[data-t]").forEach((element) => (element.textContent = t(element.dataset.t)));
  root.querySelectorAll("[data-t-label]").forEach((e) => e.setAttribute("aria-label", t(e.dataset.tLabel)));
}

// Names come from documents: `constructor` must not find what every object has.
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);

// The translation of a name, or the name itself: of names that are made readable, two may become one.
export function word(list, name) {
  const known = list !== "members" || isOrder() ? own(LANGUAGES[language][list], name) : undefined;
  return known ?? name;
}

// Why a message was refused: the service's text, translated if its form is known.
export function detail(text) {
  const { details, kinds } = LANGUAGES[language];
  if (own(details, text)) return details[text];
  const [, found, expected] = /^(.+) where (.+) belongs$/.exec(text) ?? [];
  return own(kinds, found) && own(kinds, expected) ? t("belongs", { found: kinds[found], expected: kinds[expected] }) : text;
}

export const label = (member) => word("members", member);

// The label of a searchable member, which may be a path such as `delivery.email`.
export const pathLabel = (member) => path(member).map(label).join(" · ") || member;

// The label of keys. A member may have the same one.
export function keyLabel(members) {
  const isTaken = members.some((member) => pathLabel(member).toLowerCase() === t("key").toLowerCase());
  return t(isTaken ? "keyOfOrderd" : "key");
}

// Formats are expensive to create, and are needed for a hundred rows per second.
const formats = new Map();

function format(kind, options) {
  const key = `${language} ${kind.name} ${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new kind(language, options));
  return formats.get(key);
}

export const number = (value) => format(Intl.NumberFormat, {}).format(value);

export const either = (names) => format(Intl.ListFormat, { type: "disjunction" }).format(names);

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DAY = { day: "numeric", month: "short", year: "numeric" };
const ZONE = { timeZoneName: "short" };

export const dateTime = (date) => format(Intl.DateTimeFormat, { ...DAY, ...CLOCK, ...ZONE }).format(date);

// The time zone of a list, shown in its header.
export function zone() {
  const parts = format(Intl.DateTimeFormat, ZONE).formatToParts(new Date());
  return parts.find(({ type }) => type === "timeZoneName").value;
}

// The time since which a state holds.
export function since(date) {
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? format(Intl.DateTimeFormat, { ...CLOCK, ...ZONE }).format(date) : dateTime(date);
}

// A time that is not today is shown with its date.
export function time(date) {
  const isToday = date.toDateString() === new Date().toDateString();
  const options = isToday ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "short" };
  return format(Intl.DateTimeFormat, options).format(date);
}
