//! `/events`: orders as they arrive, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::events::filtered_feed::Filter;
use crate::events::{filtered_feed, live_feed};
use crate::http::middleware::auth;
use crate::http::routes::orders::bad_request;
use crate::http::routes::query::{self, Pairs};
use crate::http::{App, text};

/// The parameters that are not members. A browser's `EventSource` says in a header where to continue when it
/// reconnects.
pub(crate) const PARAMETERS: [&str; 2] = ["full", "last_event_id"];

/// How often the permission of an open stream is checked.
const PERMISSION_INTERVAL: Duration = Duration::from_secs(1);

/// A stream of samples, or of all orders that match a filter.
enum EventReader {
    Sampled(live_feed::SampledReader),
    All(Box<filtered_feed::FilteredReader>),
}

impl EventReader {
    async fn next(&mut self) -> Option<Vec<Bytes>> {
        match self {
            Self::Sampled(reader) => reader.next().await,
            Self::All(reader) => reader.next().await,
        }
    }
}

/// Continues until the client disconnects or is too slow, its token or session ends, or the service stops.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Query(pairs): Query<Pairs>,
    headers: HeaderMap,
) -> Response {
    let (filter, from) = match asked(&app, &pairs) {
        Ok(asked) => asked,
        Err(wrong) => return bad_request(&wrong),
    };
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = header.or(from.as_deref()).filter(|id| !id.is_empty());
    let reader = if filter.full || !filter.criteria.is_empty() {
        filtered_feed::FilteredReader::new(&app.feed, &app.cache, filter, last)
            .map(|reader| EventReader::All(Box::new(reader)))
    } else {
        app.feed.reader(&app.cache, last).map(EventReader::Sampled)
    };
    let Some(reader) = reader else { return too_many() };
    let permission = Permission { app: app.clone(), headers, checked: Instant::now() };
    let body = Body::from_stream(frames(reader, permission));
    let response_headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Tells proxies not to buffer the response.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (response_headers, body).into_response()
}

/// Parses the filter, and the event to resume after.
fn asked(app: &App, pairs: &Pairs) -> Result<(Filter, Option<String>), String> {
    let (mut full, mut last) = (None, None);
    let criteria = query::criteria(pairs, app.members(), &PARAMETERS, |name, value| match name {
        "full" => query::once(name, &mut full, query::flag(name, value)?),
        _ => query::once(name, &mut last, value.to_owned()),
    })?;
    Ok((Filter { criteria, full: full.unwrap_or_default() }, last))
}

fn too_many() -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "503 too many event-stream clients");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The permission to read, which ends with the token or the session of the request.
struct Permission {
    app: Arc<App>,
    headers: HeaderMap,
    checked: Instant,
}

impl Permission {
    /// Whether the client may read on; checked once a second.
    fn holds(&mut self) -> bool {
        if self.checked.elapsed() < PERMISSION_INTERVAL {
            return true;
        }
        self.checked = Instant::now();
        auth::may_still_read(&self.app.settings.access, &self.headers)
    }
}

/// `stats` come every second and keep the connection alive; no comments are needed for that.
fn frames(reader: EventReader, permission: Permission) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(
        (reader, permission, VecDeque::new()),
        async |(mut reader, mut permission, mut waiting)| {
            if waiting.is_empty() {
                let events = tokio::select! {
                    events = reader.next() => events?,
                    () = permission.app.stop.cancelled() => return None,
                };
                waiting.extend(events);
            }
            let event = waiting.pop_front().filter(|_| permission.holds())?;
            Some((Ok(event), (reader, permission, waiting)))
        },
    )
}
