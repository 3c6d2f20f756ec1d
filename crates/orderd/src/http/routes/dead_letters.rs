//! `/dead_letters`: lists dead letters, with the reason of each, and replays or drops them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Right;
use crate::dead_letters::dead_letter_format::DeadLetter;
use crate::dead_letters::dropping::{DropNote, OrderTable};
use crate::dead_letters::list;
use crate::dead_letters::replay::{Outcome, replay as send_again};
use crate::dead_letters::store::DeadLetterStore;
use crate::flow_state::FlowState;
use crate::http::middleware::auth::{self, Caller};
use crate::http::middleware::same_origin;
use crate::http::routes::segment::Segment;
use crate::http::routes::session;
use crate::http::{App, json, text};
use crate::logging::audit::Action;
use crate::read_through::ReadThrough;
use crate::receipts::{MEMORY_TIMEOUT, Receipts};

/// Number of dead letters in one list.
pub(crate) const LISTED: usize = 50;

/// Maximum number of requests that query NATS at once, so that they cost the intake little; more wait.
const MAX_REQUESTS: usize = 2;

/// Maximum number of replays that wait for their outcome at once; more wait before they are sent.
const MAX_REPLAYS: usize = 16;

/// Time limit for NATS, including the wait for a free slot.
const NATS_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit for dropping a dead letter, including the wait for a free slot: a few requests to NATS, and two to the
/// table, which have time limits of their own.
const DROP_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit for sending a replay, and then for its outcome.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum bytes of a document that replaces a payload; NATS usually accepts fewer.
pub(crate) const MAX_DOCUMENT: usize = 8 << 20;

/// The largest valid number: beyond it, not all clients distinguish integers.
pub(crate) const LARGEST: u64 = (1 << 53) - 1;

/// The path of a dead letter, and of its replay.
pub(crate) const DEAD_LETTER: &str = "/dead_letters/{key}";
const REPLAY: &str = "/dead_letters/{key}/replay";

/// The parameters of the list.
#[derive(Deserialize)]
pub(crate) struct ListQuery {
    before: Option<String>,
}

/// Queries NATS, a few requests at a time.
pub(crate) struct DeadLettersApi {
    store: Arc<DeadLetterStore>,
    receipts: Arc<Receipts>,
    flow_state: Arc<FlowState>,
    requests: Semaphore,
    replays: Semaphore,
}

impl DeadLettersApi {
    pub(crate) fn new(
        store: Arc<DeadLetterStore>,
        receipts: Arc<Receipts>,
        flow_state: Arc<FlowState>,
    ) -> Self {
        let (requests, replays) = (Semaphore::new(MAX_REQUESTS), Semaphore::new(MAX_REPLAYS));
        Self { store, receipts, flow_state, requests, replays }
    }

    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&DeadLetterStore) -> anyhow::Result<T>,
    ) -> Result<T, Response> {
        let asked = async {
            let _permit = self.requests.acquire().await?;
            question(&self.store).await
        };
        let response = timeout(NATS_TIMEOUT, asked).await;
        response.map_err(anyhow::Error::from).flatten().map_err(|error| nats_unavailable(&error))
    }

    /// Replays a dead letter, and returns the outcome.
    async fn send_again(&self, letter: DeadLetter, document: Option<Bytes>) -> Result<Outcome, Response> {
        let sent = async {
            let _permit = self.replays.acquire().await?;
            let here = Some(self.receipts.listen());
            let letters = std::slice::from_ref(&letter);
            let position = || self.flow_state.position_in_stream();
            send_again(&self.store, letters, document, here, OUTCOME_TIMEOUT, position, |_, _| {}).await
        };
        let sent = timeout(2 * OUTCOME_TIMEOUT, sent).await;
        let mut outcomes =
            sent.map_err(anyhow::Error::from).flatten().map_err(|error| nats_unavailable(&error))?;
        Ok(outcomes.remove(&letter.key).unwrap_or(Outcome::Undecided))
    }

    /// Drops a dead letter. Returns whether it existed: a replay may have been accepted since it was looked up.
    async fn discard(&self, key: &str, table: &impl OrderTable) -> Result<bool, Response> {
        let discarded = async {
            let _permit = self.requests.acquire().await?;
            if self.store.find(key).await?.is_none() {
                return Ok(false);
            }
            if self.store.discard(key, table).await? == DropNote::NoRoom {
                tracing::warn!(
                    key,
                    "a dead letter is dropped, but the stream of dead letters has no room for the note about it: if the \
                     table is restored, its message becomes a dead letter again; make room in the stream"
                );
            }
            Ok(true)
        };
        let discarded = timeout(DROP_TIMEOUT, discarded).await;
        discarded.map_err(anyhow::Error::from).flatten().map_err(|error| {
            let error = format!("{error:#}");
            tracing::error!(key, error, "can't drop a dead letter; send the same request again");
            unavailable(
                "503 not dropped completely: NATS doesn't answer, or refuses (see the service's log); send the same \
                 request again",
            )
        })
    }
}

/// Without their payloads, newest first; `?before=` continues where a list has ended.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Query(wanted): Query<ListQuery>,
) -> Result<Response, Response> {
    let before = wanted.before.map(|before| before.parse().ok().filter(|before| *before <= LARGEST));
    let Some(before) = before.map_or(Some(None), |before| before.map(Some)) else {
        return Err(text(
            StatusCode::BAD_REQUEST,
            &format!("400 before takes the number of a listed dead letter: a whole number up to {LARGEST}"),
        ));
    };
    let letters = app.dead_letters.ask(async |store| list::newest(store, before, LISTED).await);
    let described: Vec<_> = letters.await?.iter().map(DeadLetter::describe).collect();
    Ok(fresh(&Value::from(described)))
}

/// One dead letter with its payload.
pub(crate) async fn show(State(app): State<Arc<App>>, Segment(key): Segment) -> Result<Response, Response> {
    let found = app.dead_letters.ask(async |store| {
        let Some(letter) = store.find(&key).await? else { return Ok(None) };
        let payload = store.payload(&letter).await?;
        Ok(payload.map(|payload| letter.describe_with(&payload)))
    });
    found.await?.as_ref().map(fresh).ok_or_else(missing)
}

/// The routes that need the right to replay: replays and drops, which both decide what becomes of a dead letter. Without
/// tokens for them, their methods are not allowed.
pub(crate) fn replay_routes(app: &Arc<App>) -> Router<Arc<App>> {
    if !app.settings.access.is_set(Right::Replay) {
        return Router::new().route(REPLAY, MethodRouter::new());
    }
    let guard = middleware::from_fn_with_state(app.clone(), auth::require_replay);
    let own = middleware::from_fn(same_origin::require_own);
    let replaying = post(replay)
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT))
        .layer(own.clone())
        .layer(middleware::from_fn(session::in_time))
        .layer(guard.clone());
    let dropping = delete(discard).layer(own).layer(guard);
    Router::new().route(REPLAY, replaying).route(DEAD_LETTER, dropping)
}

/// Replays a dead letter, with its payload or with the document in the body, and responds with the outcome.
async fn replay(
    State(app): State<Arc<App>>,
    Extension(Caller(by)): Extension<Caller>,
    Segment(key): Segment,
    document: Result<Bytes, BytesRejection>,
) -> Result<Response, Response> {
    let document = document.map_err(|rejection| unread(&rejection))?;
    let found = app.dead_letters.ask(async |store| store.find(&key).await).await?;
    let document = Some(document).filter(|document| !document.is_empty());
    let letter = found.ok_or_else(missing)?;
    let action = Action::begin("replay", &by, &key, "undecided");
    let outcome = app.dead_letters.send_again(letter, document).await?;
    action.became(outcome.as_str());
    if let Outcome::TakenIn = outcome {
        // Another process may have written it, and this one's memory may follow later.
        drop(timeout(MEMORY_TIMEOUT, app.cache.wait_inserted(&[&key])).await);
    }
    let status = match outcome {
        // 200 also for a refusal: the message was sent, and the response has the outcome.
        Outcome::TakenIn | Outcome::Refused(_) => StatusCode::OK,
        Outcome::Undecided => StatusCode::ACCEPTED,
        Outcome::Gone => return Err(missing()),
        Outcome::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Outcome::NotSent(_) => StatusCode::BAD_GATEWAY,
    };
    let mut response = fresh(&outcome.describe(&key));
    *response.status_mut() = status;
    Ok(response)
}

/// Drops a dead letter permanently: 204. As the command does, it asks the table for a row with its key, and goes by the
/// notes if the table does not answer.
async fn discard(
    State(app): State<Arc<App>>,
    Extension(Caller(by)): Extension<Caller>,
    Segment(key): Segment,
) -> Result<Response, Response> {
    app.dead_letters.ask(async |store| store.find(&key).await).await?.ok_or_else(missing)?;
    let action = Action::begin("drop", &by, &key, "incomplete");
    let was_there = app.dead_letters.discard(&key, &WarningTable(&app.read_through)).await?;
    action.became(if was_there { "dropped" } else { "gone" });
    if was_there { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(missing()) }
}

/// The table, with a warning where it does not answer.
struct WarningTable<'t>(&'t ReadThrough);

impl OrderTable for WarningTable<'_> {
    async fn has_row(&self, key: &str) -> Option<bool> {
        let has_row = self.0.has_row(key).await;
        if has_row.is_none() {
            tracing::warn!(
                key,
                "dropping a dead letter without asking the table, which does not answer: if the table has a row with this \
                 key, a restore to before that row does not bring it back"
            );
        }
        has_row
    }
}

fn fresh(body: &Value) -> Response {
    let mut response = json(body.to_string().into_bytes());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn unread(rejection: &BytesRejection) -> Response {
    let why = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => format!("413 a document has at most {} MiB", MAX_DOCUMENT >> 20),
        _ => "400 the body did not arrive as a whole".to_owned(),
    };
    text(rejection.status(), &why)
}

fn missing() -> Response {
    text(StatusCode::NOT_FOUND, "404 there is no such dead letter")
}

fn nats_unavailable(error: &anyhow::Error) -> Response {
    tracing::debug!(error = format!("{error:#}"), "can't query dead letters");
    unavailable("503 NATS can't be reached now")
}

/// 503 with `Retry-After`.
fn unavailable(why: &str) -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
