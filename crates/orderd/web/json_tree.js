// Any document as a tree of its members.

import { h, value } from "./dom.js";
import { label, t } from "./i18n.js";
import { Fraction } from "./json.js";

const MOST = 200; // Elements shown of an array.
const OPEN = 3; // Levels that are open at first.

export function tree(content, depth = 0) {
  if (typeof content !== "object" || content === null || content instanceof Fraction) return leaf(content);
  const isList = Array.isArray(content);
  const entries = Object.entries(content);
  if (entries.length === 0) return h("span", { class: "note" }, t("none"));
  const rows = entries.slice(0, MOST).map(([name, part]) => branch(isList ? `${Number(name) + 1}` : label(name), part, depth));
  if (entries.length > MOST) rows.push(h("li", { class: "note" }, t("moreElements", { count: entries.length - MOST })));
  return h("ul", { class: "tree" }, ...rows);
}

function branch(name, part, depth) {
  const isLeaf = typeof part !== "object" || part === null || Object.keys(part).length === 0;
  if (isLeaf) return h("li", {}, h("span", { class: "name" }, name), " ", tree(part));
  const size = Array.isArray(part) ? ` (${part.length})` : "";
  return h("li", {}, h("details", { open: depth < OPEN }, h("summary", {}, `${name}${size}`), tree(part, depth + 1)));
}

function leaf(content) {
  if (content === "") return h("span", { class: "note" }, t("emptyText"));
  return content === null ? h("span", { class: "note" }, "null") : value(content);
}
