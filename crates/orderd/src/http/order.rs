//! `/order/{id}`: one order, from memory or through it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use order::{RowError, RowReader};

use super::{App, json, text};

/// JSON is about so many times as long as what memory holds; a guess that saves growing.
const JSON: usize = 1024;

/// The order as JSON. An id that memory doesn't know may still be in the table: 404 only when it is not.
pub(super) async fn order(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let mut body = Vec::with_capacity(JSON);
    match app.cache.write_json(&id, &mut body) {
        Ok(true) => json(body),
        Ok(false) => from_table(&app, &id).await,
        Err(error) => undecodable(&id, &error),
    }
}

async fn from_table(app: &App, id: &str) -> Response {
    let row = match app.read_through.row(id).await {
        // No row of PostgreSQL has such an id.
        _ if id.contains('\0') => None,
        Ok(row) => row,
        Err(_) => return come_again(),
    };
    match row {
        None => text(StatusCode::NOT_FOUND, "404 resource not found"),
        Some(None) => text(StatusCode::INTERNAL_SERVER_ERROR, "500 row can't be decoded"),
        Some(Some(row)) => match decoded(app, &row) {
            Ok(body) => json(body),
            Err(error) => undecodable(id, &error),
        },
    }
}

fn decoded(app: &App, row: &[u8]) -> Result<Vec<u8>, RowError> {
    let body = RowReader::new(app.layouts.clone()).read("", row)?;
    let mut out = Vec::with_capacity(JSON);
    app.layouts.write_json(&body, &mut out)?;
    Ok(out)
}

fn undecodable(id: &str, error: &RowError) -> Response {
    tracing::debug!(id, %error, "row can't be decoded");
    text(StatusCode::INTERNAL_SERVER_ERROR, "500 row can't be decoded")
}

fn come_again() -> Response {
    let mut response =
        text(StatusCode::SERVICE_UNAVAILABLE, "503 PostgreSQL can't be asked now; memory doesn't have it");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
