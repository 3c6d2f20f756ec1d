//! `GET /order?order_uid=…`: the newest order with a value.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use cache::Criterion;

use crate::http::routes::order::{self, unavailable};
use crate::http::routes::orders::{bad_request, find};
use crate::http::routes::query::{self, Pairs};
use crate::http::{App, text};
use crate::wording::article;

/// Number of attempts: a found order may be removed from memory before it is read.
const MAX_TRIES: usize = 4;

/// The order as JSON, and its URL. All criteria must match.
pub(crate) async fn newest(State(app): State<Arc<App>>, Query(pairs): Query<Pairs>) -> Response {
    match query::criteria(&pairs, app.members(), &[], |_, _| Ok(())) {
        Ok(_) if app.settings.search.is_empty() => {
            bad_request(&format!("no member can be searched: {}", query::NO_MEMBERS))
        }
        Ok(criteria) if criteria.is_empty() => {
            let name = &app.settings.model.name;
            let members = query::all(&app.settings.search, &[]);
            bad_request(&format!("{} {name} is found by a value of one of these: {members}", article(name)))
        }
        Ok(criteria) => respond(&app, criteria).await,
        Err(wrong) => bad_request(&wrong),
    }
}

/// The newest order with these values.
pub(crate) async fn respond(app: &App, criteria: Vec<Criterion>) -> Response {
    let query = cache::Query::newest(criteria, 1);
    for _ in 0..MAX_TRIES {
        let found = match find(app, &query).await {
            Ok(found) => found,
            Err(response) => return response,
        };
        let Some(id) = found.ids.first() else {
            return text(StatusCode::NOT_FOUND, "404 resource not found");
        };
        let mut response = order::respond(app, id).await;
        if response.status() == StatusCode::NOT_FOUND {
            continue;
        }
        if response.status() == StatusCode::OK {
            // An address is ASCII.
            let at = HeaderValue::try_from(location(id).collect::<String>()).ok();
            response.headers_mut().extend(at.map(|at| (header::CONTENT_LOCATION, at)));
        }
        return response;
    }
    unavailable("503 the match was just removed")
}

/// The URL path of an order, in parts.
pub(crate) fn location(id: &str) -> impl Iterator<Item = &str> {
    std::iter::once("/order/").chain(query::escaped(id))
}
