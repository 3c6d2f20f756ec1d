//! `/metrics`, in Prometheus' text format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::{App, internal_error};
use crate::memory_watch;

/// All metrics, as of now.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.in_memory.set(app.cache.count() as i64);
    app.depths.set_gauges(&app.metrics);
    let (held, max) = app.cache.held().unwrap_or_default();
    app.metrics.cache.set(held as i64);
    app.metrics.cache_max.set(max as i64);
    app.metrics.memory.set(memory_watch::resident() as i64);
    app.metrics.memory_limit.set(memory_watch::limit() as i64);
    app.metrics.process.update();
    match app.metrics.text() {
        Ok(body) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "can't write the metrics");
            internal_error()
        }
    }
}
