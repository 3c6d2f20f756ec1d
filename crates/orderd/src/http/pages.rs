//! `/mem_len` and `/order_pages/…`: how many orders there are, and their ids by fifties.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::page::{tag, unless_known};
use super::{App, json, text};
use crate::serve::cache::Page;

/// `{"mem_len": N}`
pub(super) async fn mem_len(State(app): State<Arc<App>>) -> Response {
    json(format!("{{\"mem_len\": {}}}", app.cache.len()).into_bytes())
}

/// The last page.
pub(super) async fn last(State(app): State<Arc<App>>, asked: HeaderMap) -> Response {
    answer(app.cache.page(None), &asked)
}

/// Page `n`, from 1.
pub(super) async fn page(State(app): State<Arc<App>>, Path(n): Path<String>, asked: HeaderMap) -> Response {
    match n.parse() {
        Ok(n) => answer(app.cache.page(Some(n)), &asked),
        Err(_) => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// A full page seldom changes: whoever turns pages to and fro gets 304.
fn answer(page: Page, asked: &HeaderMap) -> Response {
    match page {
        Page::Ids(ids) => {
            // A list of strings can always be written.
            let ids = serde_json::to_vec(&ids).unwrap_or_default();
            unless_known(&tag(&ids), asked, || json(ids))
        }
        Page::NotThere => text(StatusCode::NOT_FOUND, "Not Found"),
        Page::Zero => text(StatusCode::BAD_REQUEST, "Bad Request"),
    }
}
