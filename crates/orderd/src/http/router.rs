//! Which handler answers which path, and what it passes on the way: hosts, origins, tokens, compression, counting.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use super::middleware::{auth, compress, cors, host, no_store, same_origin};
use super::routes::{
    assets, dead_letters, erase, events, health, metrics, newest_order, openapi, order, order_pages, orders,
    session,
};
use super::{App, count, text};

/// Maximum length of a form, which contains a token.
const MAX_FORM_BYTES: usize = 4096;

/// The most frequent routes.
pub(super) const ORDER: &str = "/order/{id}";
/// The order whose id is empty, which the router takes for a missing one.
pub(super) const UNNAMED: &str = "/order/";
pub(super) const NEWEST: &str = "/order";
pub(super) const SEARCH: &str = "/orders";

/// All routes.
pub(super) fn router(app: Arc<App>) -> Router {
    let own = from_fn(same_origin::require_own);
    let vary = from_fn(compress::vary);
    let guarded = Router::new()
        .route("/mem_len", get(order_pages::mem_len))
        .route("/order_pages/last", get(order_pages::last))
        .route("/order_pages/{n}", get(order_pages::page))
        .route(ORDER, get(order::order))
        .route(UNNAMED, get(order::unnamed))
        .route(NEWEST, get(newest_order::newest))
        .route(SEARCH, get(orders::search))
        .route("/events", get(events::events))
        .route("/dead_letters", get(dead_letters::list).layer(compress::layer()).layer(vary.clone()))
        .route(
            dead_letters::DEAD_LETTER,
            get(dead_letters::show).layer(compress::layer()).layer(vary.clone()),
        )
        .layer(from_fn_with_state(app.clone(), auth::require_read))
        .merge(dead_letters::replay_routes(&app))
        .layer(from_fn(no_store::keep_out_of_caches));
    let session = post(session::sign_in)
        .delete(session::sign_out)
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(from_fn(session::lower_media_type))
        .layer(own);
    let session = session.layer(from_fn(session::in_time));
    let router = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics).layer(compress::layer()).layer(vary.clone()))
        .route("/openapi.json", get(openapi::openapi).layer(compress::layer()).layer(vary.clone()))
        .route("/session", session)
        .merge(assets::routes().layer(compress::layer()).layer(vary.clone()))
        .merge(guarded)
        .merge(erase::routes(&app))
        .fallback(async || text(StatusCode::NOT_FOUND, "404 there is nothing at this path: /docs lists all paths"))
        .method_not_allowed_fallback(async || {
            let said = "405 method not allowed; the header Allow lists the allowed ones. Set HTTP_REPLAY_TOKEN to \
                        replay or drop dead letters, HTTP_ERASE_TOKEN to erase";
            text(StatusCode::METHOD_NOT_ALLOWED, said)
        })
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app.clone());
    let router = cors::allow(router, &app.settings.cors_origins);
    router.layer(from_fn_with_state(app, host::require))
}

/// Counts and times each request by its route, and traces it.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = app.traces.as_ref().and_then(|traces| {
        let route = route.as_ref().map(MatchedPath::as_str);
        traces.request(request.method(), route, request.headers())
    });
    let response = next.run(request).await;
    if let Some(span) = span {
        span.answered(response.status());
    }
    count(&app.metrics, route.as_ref().map_or("other", MatchedPath::as_str), response.status(), begun);
    response
}
