//! `/dead_letters`: what could not be taken in and why, and back into the topic after a mend.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{App, json, text};
use crate::dead_letters::format::DeadLetter;
use crate::dead_letters::list;

/// How many are listed at once.
pub(super) const LISTED: usize = 50;

/// How many requests ask NATS at once, so that they cost the intake little; more wait.
const AT_ONCE: usize = 2;

/// How long NATS may take, and the wait for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// The largest number that may be asked for: beyond it, not all clients tell numbers apart.
pub(super) const LARGEST: u64 = (1 << 53) - 1;

/// What listing is asked for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<u64>,
}

/// Asks NATS, a few requests at a time.
pub(super) struct DeadLetters {
    context: async_nats::jetstream::Context,
    places: Semaphore,
}

impl DeadLetters {
    pub(super) fn new(context: async_nats::jetstream::Context) -> Self {
        Self { context, places: Semaphore::new(AT_ONCE) }
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&async_nats::jetstream::Context) -> anyhow::Result<T>,
    ) -> Result<T, Response> {
        let asked = async {
            let _place = self.places.acquire().await?;
            question(&self.context).await
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.map_err(anyhow::Error::from).flatten().map_err(|error| {
            tracing::debug!(error = format!("{error:#}"), "can't ask for dead letters");
            come_again()
        })
    }
}

/// Without their payloads, newest first; `?before=` goes on where a list has ended.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Response> {
    if wanted.before.is_some_and(|before| before > LARGEST) {
        return Err(text(StatusCode::BAD_REQUEST, "400 there is no such number"));
    }
    let letters = app.dead_letters.ask(async |nats| list::newest(nats, wanted.before, LISTED).await);
    let described: Vec<_> = letters.await?.iter().map(DeadLetter::describe).collect();
    Ok(fresh(Value::from(described)))
}

/// One, with its payload.
pub(super) async fn show(State(app): State<Arc<App>>, Path(key): Path<String>) -> Result<Response, Response> {
    let found = app.dead_letters.ask(async |nats| {
        let Some(letter) = list::find(nats, &key).await? else { return Ok(None) };
        let payload = list::payload(nats, &letter).await?;
        Ok(payload.map(|payload| letter.describe_with(&payload)))
    });
    found.await?.map(fresh).ok_or_else(missing)
}

/// 202: it is on its way. What becomes of it, the list says: one that is taken in leaves it.
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
) -> Result<StatusCode, Response> {
    if app.settings.http.tokens.current().0.is_empty() {
        return Err(text(StatusCode::FORBIDDEN, "403 only with a token: set HTTP_TOKEN"));
    }
    let found = app.dead_letters.ask(async |nats| {
        let Some(letter) = list::find(nats, &key).await? else { return Ok(None) };
        list::replay(nats, &letter).await.map(Some)
    });
    found.await?.ok_or_else(missing)?;
    tracing::info!(key, "dead letter sent again");
    Ok(StatusCode::ACCEPTED)
}

fn fresh(body: Value) -> Response {
    let mut response = json(body.to_string().into_bytes());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn missing() -> Response {
    text(StatusCode::NOT_FOUND, "404 there is no such dead letter")
}

fn come_again() -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "503 NATS can't be asked now");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
