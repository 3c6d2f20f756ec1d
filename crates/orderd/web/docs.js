"use strict";

// `/openapi.json`, laid out for reading.

function example(media) {
  if (!media) return null;
  const given = media.example ?? media.schema?.examples?.[0];
  if (given === undefined) return null;
  return make("pre", { tabindex: "0" }, typeof given === "string" ? given : JSON.stringify(given, null, 2));
}

function answer(status, response) {
  const [kind, media] = Object.entries(response.content ?? {})[0] ?? [];
  const shown = example(media);
  const line = [make("b", {}, status), ` ${response.description}`, kind ? make("small", {}, ` (${kind})`) : null];
  if (!shown) return make("li", {}, ...line);
  return make("li", {}, ...line, make("details", {}, make("summary", {}, "Example"), shown));
}

function parameter(given) {
  const names = given.schema.properties ? Object.keys(given.schema.properties).join(", ") : given.name;
  return make("li", {}, make("code", {}, names), ` (${given.in}) ${given.description ?? ""}`);
}

function operation(path, method, given) {
  const parts = [make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), ` ${path}`), make("p", {}, given.summary)];
  if (given.description) parts.push(make("p", {}, given.description));
  if (given.parameters) parts.push(make("ul", {}, ...given.parameters.map(parameter)));
  if (given.security) parts.push(make("p", {}, "Needs a token."));
  parts.push(make("ul", {}, ...Object.entries(given.responses).map(([status, response]) => answer(status, response))));
  return make("section", { class: "card operation" }, ...parts);
}

async function show() {
  const into = document.getElementById("docs");
  try {
    const api = await (await fetch("openapi.json")).json();
    document.title = api.info.title;
    const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, given]) => operation(path, method, given)));
    const schema = make("details", { class: "raw" }, make("summary", {}, "Schema of an order"),
      make("pre", { tabindex: "0" }, JSON.stringify(api.components.schemas.Order, null, 2)));
    into.replaceChildren(make("h2", {}, `${api.info.title} ${api.info.version}`), make("p", {}, api.info.description), ...operations, schema);
  } catch (error) {
    into.replaceChildren(make("p", { class: "empty" }, `openapi.json can't be read: ${error.message}`));
  }
}

show();
