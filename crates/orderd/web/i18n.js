// English and Russian. What has `data-t` in the page is said again when the language changes.

import { en } from "./en.js";
import { ru } from "./ru.js";

const LANGUAGES = { en, ru };
const KEPT = "orderd-language";

let language = start();
// What documents are called; `order` is the model that is built in, of which the page has words.
let model = "order";

export function setModel(name) {
  model = name;
  translate();
}

// What the window is called.
export const title = () => (isOrder() ? "orderd" : `${model} · orderd`);
const isOrder = () => model === "order";

function start() {
  const kept = stored();
  if (kept in LANGUAGES) return kept;
  return navigator.language.toLowerCase().startsWith("ru") ? "ru" : "en";
}

// A browser may forbid storage; the language is then that of the browser.
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
    // It lasts as long as the page, then.
  }
  translate();
  listeners.forEach((listener) => listener());
}

// `{name}` stands for a value; a message with forms takes the one for `count`.
export function t(key, values = {}) {
  const neutral = isOrder() ? undefined : LANGUAGES[language].neutral[key];
  let message = neutral ?? LANGUAGES[language][key] ?? en[key] ?? key;
  if (typeof message === "object") {
    message = message[format(Intl.PluralRules, {}).select(values.count)] ?? message.other;
  }
  const shown = (value) => (typeof value === "number" ? number(value) : value ?? "");
  return message.replace(/\{(\w+)\}/g, (_, name) => (name === "model" ? model : shown(values[name])));
}

export function translate(root = document) {
  document.documentElement.lang = language;
  root.querySelectorAll("[data-t]").forEach((element) => (element.textContent = t(element.dataset.t)));
  root.querySelectorAll("[data-t-label]").forEach((e) => e.setAttribute("aria-label", t(e.dataset.tLabel)));
  root.querySelectorAll("[data-t-placeholder]").forEach((e) => (e.placeholder = t(e.dataset.tPlaceholder)));
}

// Names come from documents: `constructor` must not find what every object has.
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);

// A word of a program's as people say it: translated where it is known, else made readable.
export function word(list, name) {
  const known = list !== "members" || isOrder() ? own(LANGUAGES[language][list], name) : undefined;
  if (known) return known;
  const words = name.replaceAll("_", " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : name;
}

// Why a message was refused: the service's words, translated where their form is known.
export function detail(text) {
  const { details, kinds } = LANGUAGES[language];
  if (own(details, text)) return details[text];
  const [, found, expected] = /^(.+) where (.+) belongs$/.exec(text) ?? [];
  return own(kinds, found) && own(kinds, expected) ? t("belongs", { found: kinds[found], expected: kinds[expected] }) : text;
}

export const label = (member) => word("members", member);

// Formats are dear to make, and a hundred rows a second want them.
const formats = new Map();

function format(kind, options) {
  const key = `${language} ${kind.name} ${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new kind(language, options));
  return formats.get(key);
}

export const number = (value) => format(Intl.NumberFormat, {}).format(value);

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DAY = { day: "numeric", month: "short", year: "numeric" };
const ZONE = { timeZoneName: "short" };

export const dateTime = (date) => format(Intl.DateTimeFormat, { ...DAY, ...CLOCK, ...ZONE }).format(date);

// The zone of the times of a list, which stands in its head.
export function zone() {
  const parts = format(Intl.DateTimeFormat, ZONE).formatToParts(new Date());
  return parts.find(({ type }) => type === "timeZoneName").value;
}

// Since when something is so.
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
