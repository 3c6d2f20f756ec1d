// openapi.json, laid out for reading. The description itself is in English.

import { $, h } from "./dom.js";
import { parse, stringify } from "./json.js";
import { lang, onLanguage, setModel, t, translate, wireSwitch } from "./i18n.js";

let api;

// The page's own words inside the English description; `translate` updates them.
const label = (key) => h("span", { "data-t": key, lang: lang() }, t(key));

// Descriptions are Markdown, but have no more of it than names between backticks.
const prose = (text) => text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));

// Resolves a reference.
function resolved(part) {
  const path = part?.$ref?.split("/").slice(1);
  return path ? resolved(path.reduce((within, name) => within[name], api)) : part;
}

function example(media) {
  const given = resolved(media?.schema)?.examples?.[0];
  if (given === undefined) return null;
  const shown = typeof given === "string" ? given : stringify(given, 2);
  return h("details", {}, h("summary", {}, label("docsExample")), h("pre", { tabindex: 0 }, shown));
}

function answer(status, given) {
  const response = resolved(given);
  const [kind, media] = Object.entries(response.content ?? {})[0] ?? [];
  const what = h("td", {}, ...prose(response.description), kind ? h("span", { class: "note" }, ` · ${kind}`) : null, example(media));
  return h("tr", {}, h("td", {}, status), what);
}

function parameter(given) {
  const where = h("span", { class: "note" }, ` (${given.in}`, ...(given.required ? [", ", label("docsRequired")] : []), ") ");
  return h("li", {}, h("code", {}, given.name), where, ...prose(given.description ?? ""));
}

function operation(path, method, given) {
  return h("section", { class: "panel" },
    h("h2", {}, h("span", { class: "method" }, method.toUpperCase()), h("code", {}, path)),
    h("p", {}, ...prose(given.summary), given.security ? h("span", { class: "note" }, " · ", label("docsToken")) : null),
    given.description ? h("p", {}, ...prose(given.description)) : null,
    given.parameters ? h("ul", {}, ...given.parameters.map(parameter)) : null,
    h("table", { class: "answers" },
      h("tbody", {}, ...Object.entries(given.responses).map(([status, response]) => answer(status, response)))));
}

function show() {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, given]) => operation(path, method, given)));
  const schema = h("details", { class: "panel" }, h("summary", {}, label("docsSchema")),
    h("pre", { tabindex: 0 }, stringify(api.components.schemas[api["x-schema"]], 2)));
  $("docs").lang = "en";
  $("docs").replaceChildren(
    h("div", { class: "heading" }, h("h1", {}, `${api.info.title} ${api.info.version}`)),
    h("p", {}, ...prose(api.info.description)), ...operations, schema);
}

async function begin() {
  translate();
  wireSwitch($("language"));
  try {
    api = parse(await (await fetch("openapi.json")).text());
    setModel(api["x-model"]);
    document.title = `API · ${api.info.title}`;
    onLanguage(() => document.querySelectorAll("#docs [data-t]").forEach((own) => (own.lang = lang())));
    show();
  } catch (error) {
    const failed = () => $("docs").replaceChildren(h("p", { class: "empty" }, t("docsFailed", { error: error.message })));
    onLanguage(failed);
    failed();
  }
}

begin();
