//! `/mem_len` and `/order_pages/…`: how many orders there are, and their ids by fifties.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{App, json, text};
use crate::serve::cache::Page;

/// `{"mem_len": N}`
pub(super) async fn mem_len(State(app): State<Arc<App>>) -> Response {
    json(format!("{{\"mem_len\": {}}}", app.cache.len()).into_bytes())
}

/// The last page.
pub(super) async fn last(State(app): State<Arc<App>>) -> Response {
    answer(app.cache.page(None))
}

/// Page `n`, from 1.
pub(super) async fn page(State(app): State<Arc<App>>, Path(n): Path<String>) -> Response {
    match n.parse() {
        Ok(n) => answer(app.cache.page(Some(n))),
        Err(_) => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn answer(page: Page) -> Response {
    match page {
        // A list of strings can always be written.
        Page::Ids(ids) => json(serde_json::to_vec(&ids).unwrap_or_default()),
        Page::NotThere => text(StatusCode::NOT_FOUND, "Not Found"),
        Page::Zero => text(StatusCode::BAD_REQUEST, "Bad Request"),
    }
}
