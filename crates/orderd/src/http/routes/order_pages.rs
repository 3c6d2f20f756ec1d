//! `/mem_len` and `/order_pages/…`: the number of orders, and pages of 50 ids.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cache::Page;

use crate::http::routes::assets::{tag, unless_known};
use crate::http::routes::order::unavailable;
use crate::http::routes::segment::Segment;
use crate::http::{App, json, text};

/// `{"mem_len": N}`
pub(crate) async fn mem_len(State(app): State<Arc<App>>) -> Response {
    let count = || json(format!("{{\"mem_len\": {}}}", app.cache.count()).into_bytes());
    app.misfit().unwrap_or_else(count)
}

/// What an error says of pages that are there.
const PAGES: &str = "pages are numbered from 1, and the last one is /order_pages/last";

/// The last page.
pub(crate) async fn last(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    respond(&app, None, &asked, || "404 there is no page: nothing is stored yet".into()).await
}

/// Page `n`, from 1.
pub(crate) async fn page(State(app): State<Arc<App>>, Segment(n): Segment, asked: HeaderMap) -> Response {
    match n.parse() {
        Ok(n) => respond(&app, Some(n), &asked, || format!("404 there is no page {n}: {PAGES}")).await,
        Err(_) => text(StatusCode::NOT_FOUND, &format!("404 this is not the number of a page: {PAGES}")),
    }
}

/// The page; `None` if memory lacks it and is not filled yet.
async fn known(app: &App, n: Option<usize>) -> Option<Page> {
    let page = app.cache.page(n);
    if !matches!(page, Page::NotThere) || app.has_whole_table() {
        return Some(page);
    }
    app.wait_whole_table().await;
    let is_filled = app.has_whole_table();
    Some(app.cache.page(n)).filter(|page| is_filled || !matches!(page, Page::NotThere))
}

/// A full page rarely changes: a client that requests it again gets 304. `missing` says that there is no such page.
async fn respond(
    app: &App,
    n: Option<usize>,
    asked: &HeaderMap,
    missing: impl FnOnce() -> String,
) -> Response {
    if n == Some(0) {
        return text(StatusCode::BAD_REQUEST, &format!("400 there is no page 0: {PAGES}"));
    }
    if let Some(misfit) = app.misfit() {
        return misfit;
    }
    let page = known(app, n).await;
    // The fill may have ended meanwhile.
    if let Some(misfit) = app.misfit() {
        return misfit;
    }
    match page {
        None => unavailable("503 memory doesn't have the whole table yet"),
        Some(Page::Ids(ids)) => {
            // A list of strings can always be written.
            let ids = serde_json::to_vec(&ids).unwrap_or_default();
            unless_known(&tag(&ids), asked, || json(ids))
        }
        Some(Page::NotThere) => text(StatusCode::NOT_FOUND, &missing()),
    }
}
