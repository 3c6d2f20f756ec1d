//! `/order/{id}`: one order, from memory or by read-through.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use cache::{Lookup, StoredRow, Unavailable};
use order::RowError;

use crate::http::routes::segment::Segment;
use crate::http::{App, text};

/// Estimate of the JSON's length relative to the body in memory, to allocate once.
const USUAL_JSON_BYTES: usize = 1024;

/// The order as JSON. An id that memory lacks may still be in the table; 404 only if it is not.
pub(crate) async fn order(State(app): State<Arc<App>>, Segment(id): Segment) -> Response {
    respond(&app, &id).await
}

/// The order whose id is empty: a table may have such a row.
pub(crate) async fn unnamed(State(app): State<Arc<App>>) -> Response {
    respond(&app, "").await
}

pub(crate) async fn respond(app: &App, id: &str) -> Response {
    let mut body = Vec::with_capacity(USUAL_JSON_BYTES);
    match app.cache.write_json(id, &mut body) {
        Ok(Lookup::Hit) => app.large.json(body),
        Ok(Lookup::Evicted | Lookup::Miss) => from_table(app, id).await,
        Err(error) => broken(id, &error),
    }
}

/// Responds with an order that memory has evicted or does not have.
pub(crate) async fn from_table(app: &App, id: &str) -> Response {
    if app.cache.is_erased(id) {
        // A restored table may have its row for a moment.
        return text(StatusCode::NOT_FOUND, "404 resource not found");
    }
    let mut body = Vec::with_capacity(USUAL_JSON_BYTES);
    match app.read_through.row(id).await {
        Ok(StoredRow::Order(order)) => match app.layouts.write_json(&order, &mut body) {
            Ok(()) => app.large.json(body),
            Err(error) => broken(id, &error),
        },
        Ok(StoredRow::Undecodable) => undecodable(),
        Ok(StoredRow::NotRead) => match app.cache.write_json(id, &mut body) {
            Ok(Lookup::Hit) => app.large.json(body),
            _ => unavailable("503 its message has not been written yet"),
        },
        // It may have arrived meanwhile; or it was evicted before it was committed.
        Ok(StoredRow::NotThere) => match app.cache.write_json(id, &mut body) {
            Ok(Lookup::Hit) => app.large.json(body),
            Ok(Lookup::Evicted) => unavailable("503 it is not committed yet, and is no longer in memory"),
            Ok(Lookup::Miss) => text(StatusCode::NOT_FOUND, "404 resource not found"),
            Err(error) => broken(id, &error),
        },
        Err(Unavailable) => unavailable("503 PostgreSQL can't be reached now; memory doesn't have it"),
    }
}

/// Memory has it, but can't render it.
fn broken(id: &str, error: &RowError) -> Response {
    tracing::debug!(id, %error, "row can't be shown");
    undecodable()
}

fn undecodable() -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "500 row can't be decoded")
}

/// 503 with `Retry-After`: the order may be available a little later.
pub(crate) fn unavailable(why: &str) -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
