//! `/healthz` and `/readyz`: for load balancers, containers and people.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::fill_progress::ModelFit;
use crate::flow_state::TablePosition;
use crate::health::Part;
use crate::http::{App, json as json_response};

/// The parameters of `/readyz`.
#[derive(Deserialize)]
pub(crate) struct ReadyzQuery {
    r#for: Option<ReadyFor>,
}

/// `?for=reads` asks whether orders can be served, whatever else is down.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReadyFor {
    Reads,
}

/// A process that responds is alive.
pub(crate) async fn alive(State(app): State<Arc<App>>) -> Response {
    report(&app, true)
}

/// 200 if orders are read and stored, or, with `?for=reads`, if they can be served.
pub(crate) async fn ready(State(app): State<Arc<App>>, Query(wanted): Query<ReadyzQuery>) -> Response {
    let health = &app.health;
    let good = match wanted.r#for {
        Some(ReadyFor::Reads) => {
            !health.is_draining()
                && !app.progress.is_misfit()
                && (health.is_up(Part::Fill) || stands_in(&app))
        }
        None => is_ready(&app),
    };
    report(&app, good)
}

/// How long a process waits for the whole table where another one serves: that one may be stopping.
const LONGEST_WAIT_FOR_FILL: time::Duration = time::Duration::seconds(30);

/// How long a process that has just started waits until it knows whether another one is the writer.
const LONGEST_WAIT_FOR_POSITION: time::Duration = time::Duration::seconds(2);

/// Whether a process without the whole table in memory gets requests: it can read single orders from PostgreSQL, but not
/// list them. While another process is the writer, that one answers all requests better.
fn stands_in(app: &App) -> bool {
    let longest_wait = match &*app.flow_state.table.borrow() {
        None => LONGEST_WAIT_FOR_POSITION,
        Some(TablePosition { writer: Some(_), is_self: false, .. }) => LONGEST_WAIT_FOR_FILL,
        Some(_) => time::Duration::ZERO,
    };
    let waited = OffsetDateTime::now_utc() - app.health.state(Part::Fill).since;
    app.health.is_up(Part::Postgres) && waited >= longest_wait
}

fn is_ready(app: &App) -> bool {
    let health = &app.health;
    !health.is_draining()
        && !app.progress.is_misfit()
        && health.is_up(Part::Nats)
        && health.is_up(Part::Postgres)
        && health.is_up(Part::Intake)
}

fn report(app: &App, good: bool) -> Response {
    let mut body = app.health.report(&app.progress.counts());
    body["fill"]["model_fits"] = match *app.progress.model_fit.borrow() {
        ModelFit::Unknown => Value::Null,
        fit => (fit == ModelFit::Fits).into(),
    };
    body["ready"] = is_ready(app).into();
    body["draining"] = app.health.is_draining().into();
    let table = app.flow_state.table.borrow().clone();
    body["position"] = json!({
        "seq": table.as_ref().map(|table| table.watermark.seq),
        "behind": app.flow_state.lag(),
    });
    body["writer"] = json!({
        "name": table.as_ref().and_then(|table| table.writer.as_deref()),
        "self": table.as_ref().is_some_and(|table| table.is_self),
    });
    let mut response = json_response(body.to_string().into_bytes());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, response).into_response()
}
