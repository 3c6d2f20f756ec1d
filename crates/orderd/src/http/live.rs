//! `/events`: orders as they come in, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{App, text};
use crate::serve::feed::Reader;

/// Where to go on; a browser's `EventSource` says it in a header, when it connects again.
#[derive(Deserialize)]
pub(super) struct From {
    last_event_id: Option<String>,
}

/// Goes on until the reader leaves, is too slow, or the service stops.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Response {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = header.or(from.last_event_id.as_deref()).filter(|id| !id.is_empty());
    let Some(reader) = app.feed.reader(last) else { return too_many() };
    let body = Body::from_stream(frames(reader, app.stop.clone()));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that gather answers before they pass them on: don't.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

fn too_many() -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "503 too many event-stream clients");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// `stats` come every second and keep the connection alive; no comments are needed for that.
fn frames(reader: Reader, stop: CancellationToken) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((reader, stop, VecDeque::new()), async |(mut reader, stop, mut waiting)| {
        if waiting.is_empty() {
            let events = tokio::select! {
                events = reader.next() => events?,
                () = stop.cancelled() => return None,
            };
            waiting.extend(events);
        }
        let event = waiting.pop_front()?;
        Some((Ok(event), (reader, stop, waiting)))
    })
}
