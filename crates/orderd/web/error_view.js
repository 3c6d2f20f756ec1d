// The message in place of content that can't be loaded.

import { h, value } from "./dom.js";
import { t } from "./i18n.js";

const KINDS = { 404: "notFound", 500: "broken", 503: "cantKnow" };

export function failure(error, again, id) {
  const kind = (id && KINDS[error.status]) || "failed";
  // The id comes from the URL.
  const [before, after] = t(kind, { id: "\0" }).split("\0");
  // An order's view has no other heading.
  const title = h(id ? "h1" : "h2", id ? { tabindex: -1 } : {}, before, after === undefined ? null : value(id, { class: "id" }), after ?? null);
  const retry = kind === "broken" || kind === "notFound" ? null : h("button", { type: "button", onclick: again }, t("again"));
  return h("div", { class: "empty", role: "alert" }, title, h("p", {}, t(`${kind}Why`)), retry);
}
