//! `/orders?order_uid=…`: the ids of the orders that have a value.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::order::come_again;
use super::{App, json, text};
use crate::health::Part;
use crate::serve::cache::NotFound;

/// Ids, newest first. All criteria must match.
pub(super) async fn search(
    State(app): State<Arc<App>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let members = &app.settings.search;
    let place = |name: &str| members.iter().position(|member| member == name);
    let criteria: Option<Vec<_>> =
        query.into_iter().map(|(name, value)| place(&name).map(|place| (place, value))).collect();
    let Some(criteria) = criteria.filter(|criteria| !criteria.is_empty()) else {
        return text(StatusCode::BAD_REQUEST, &format!("400 orders are found by {}", members.join(", ")));
    };
    match app.cache.search(&criteria, &app.read_through).await {
        Ok(ids) if may_be_more(&app, &ids) => come_again("503 memory doesn't have the whole table yet"),
        // A list of strings can always be written.
        Ok(ids) => json(serde_json::to_vec(&ids).unwrap_or_default()),
        Err(NotFound::Unanswered) => {
            come_again("503 PostgreSQL can't be asked now; memory doesn't have all of it")
        }
        Err(NotFound::Broken(error)) => {
            tracing::error!(%error, "can't search memory");
            text(StatusCode::INTERNAL_SERVER_ERROR, "500 internal server error")
        }
    }
}

/// Whether nothing was found, and memory doesn't have the whole table yet.
pub(super) fn may_be_more(app: &App, ids: &[String]) -> bool {
    ids.is_empty() && !app.health.is_up(Part::Fill)
}
