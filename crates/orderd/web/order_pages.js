// Pages of fifty, oldest first.

import { $, h } from "./dom.js";
import { t } from "./i18n.js";
import { memLen, page } from "./api.js";
import { List } from "./table.js";
import { failure } from "./error_view.js";

const PAGE = 50;
let shown = 0;

export function wire() {
  $("page-form").onsubmit = (event) => {
    event.preventDefault();
    if (/^\d+$/.test($("page-number").value)) location.hash = `#/page/${$("page-number").value}`;
  };
  $("page-number").onchange = () => $("page-form").requestSubmit();
}

export async function show(asked, members) {
  const mine = ++shown;
  $("page-list").replaceChildren(h("p", { class: "note" }, t("loading")));
  try {
    const count = await memLen();
    const pages = Math.ceil(count / PAGE);
    const at = asked === "last" ? Math.max(1, pages) : Number(asked);
    const ids = at >= 1 && at <= pages ? await page(at) : [];
    if (mine !== shown) return;
    heading(at, pages, count);
    $("page-list").replaceChildren(ids.length > 0 ? listOf(ids, at, members) : nothing(at, pages));
  } catch (error) {
    if (mine === shown) $("page-list").replaceChildren(failure(error, () => show(asked, members)));
  }
}

function listOf(ids, at, members) {
  const list = new List(members, t("pageTitle", { page: at }));
  list.append(ids.map((id) => ({ id })));
  return list.table;
}

function heading(at, pages, count) {
  const title = t("pageTitle", { page: at });
  $("page-title").textContent = title;
  document.title = `${title} · orderd`;
  $("page-count").textContent = `${t("found", { count })} ${t("onPages", { count: pages })}`;
  $("page-number").value = at;
  link("page-first", 1, at > 1);
  link("page-prev", Math.min(at - 1, pages), at > 1);
  link("page-next", at + 1, at < pages);
  link("page-last", "last", at !== pages && pages > 0);
}

function link(id, page, works) {
  if (works) $(id).href = `#/page/${page}`;
  else $(id).removeAttribute("href");
  if (works) $(id).removeAttribute("aria-disabled");
  else $(id).setAttribute("aria-disabled", "true");
}

function nothing(at, pages) {
  if (pages === 0) return h("div", { class: "empty" }, h("h2", {}, t("empty")));
  return h("div", { class: "empty" }, h("h2", {}, t("noPage", { page: at })),
    h("a", { href: "#/page/last" }, t("toLast")));
}
