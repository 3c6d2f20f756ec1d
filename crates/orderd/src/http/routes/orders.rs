//! `/orders`: ids or documents, filtered by values and times, with a cursor.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use cache::{Matches, QueryError};

use crate::http::router::SEARCH;
use crate::http::routes::full_orders;
use crate::http::routes::order::unavailable;
use crate::http::routes::query::{self, OrdersQuery, Pairs};
use crate::http::{App, internal_error, text};

/// Ids, newest first by default. All criteria must match.
pub(crate) async fn search(State(app): State<Arc<App>>, Query(pairs): Query<Pairs>) -> Response {
    match query::orders(&pairs, app.members()) {
        Ok(asked) => respond(app, &asked, &pairs).await,
        Err(wrong) => bad_request(&wrong),
    }
}

async fn respond(app: Arc<App>, asked: &OrdersQuery, pairs: &Pairs) -> Response {
    let found = match find(&app, &asked.query).await {
        Ok(found) => found,
        Err(response) => return response,
    };
    let next = next_of(&found, pairs);
    let mut response =
        if asked.full { full_orders::respond(app, found).await } else { app.large.json(list(&found.ids)) };
    if response.status() == StatusCode::OK {
        response.headers_mut().extend(next.map(|next| (header::LINK, next)));
    }
    response
}

/// Runs a query; the error is the response.
pub(crate) async fn find(app: &App, query: &cache::Query) -> Result<Matches, Response> {
    if let Some(found) = find_now(app, query).await? {
        return Ok(found);
    }
    app.wait_whole_table().await;
    find_now(app, query).await?.ok_or_else(|| unavailable("503 memory doesn't have the whole table yet"))
}

/// `None`: memory lacks the part of the table that the query needs.
async fn find_now(app: &App, query: &cache::Query) -> Result<Option<Matches>, Response> {
    let was_whole = app.has_whole_table();
    let found = app.cache.search(query, &app.read_through).await;
    if let Some(misfit) = app.misfit() {
        return Err(misfit);
    }
    match found {
        Ok(found) if was_whole && app.has_whole_table() => Ok(Some(found)),
        Ok(found) => Ok(app.cache.without_table(query, found)),
        Err(QueryError::Unavailable) => {
            Err(unavailable("503 PostgreSQL can't be reached now; memory doesn't have all of it"))
        }
        Err(QueryError::Broken(error)) => {
            tracing::error!(%error, "can't search memory");
            Err(internal_error())
        }
    }
}

/// The list of ids as JSON.
pub(crate) fn list(ids: &[String]) -> Vec<u8> {
    // A list of strings can always be written.
    serde_json::to_vec(ids).unwrap_or_default()
}

/// The `Link` header, if more results follow.
pub(crate) fn next_of(found: &Matches, pairs: &Pairs) -> Option<HeaderValue> {
    let last = found.ids.last().filter(|_| found.has_more)?;
    // An address is ASCII.
    HeaderValue::try_from(format!("<{}>; rel=\"next\"", query::next(SEARCH, pairs, last))).ok()
}

pub(crate) fn bad_request(wrong: &str) -> Response {
    text(StatusCode::BAD_REQUEST, &format!("400 {wrong}"))
}
