//! HTTP: the router, and the state that its handlers share. Each resource has a file in `routes/`.

mod server;
mod middleware;
mod routes;
mod response_budget;

use std::sync::Arc;
use std::time::Instant;

use ::order::Layouts;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cache::Cache;
use prometheus::{Histogram, IntCounter};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::events::feed::Feed;
use crate::fill::read_through::{MissSources, ReadThrough};
use crate::fill_progress::FillProgress;
use crate::flow_state::FlowState;
use crate::health::{Health, Part};
use crate::logging::audit;
use crate::metrics::Metrics;
use crate::pipeline::{ChannelDepths, Context};
use crate::traces::Traces;

use self::middleware::{auth, compress, cors, host, no_store, same_origin};
use self::routes::{
    assets, dead_letters, erase, events, health, metrics, newest_order, openapi, order, order_pages, orders,
    query, session,
};
pub(crate) use self::server::runtime::HttpThreads;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::server::serve_one;

/// Maximum length of a form, which contains a token.
const MAX_FORM_BYTES: usize = 4096;

/// The most frequent routes.
const ORDER: &str = "/order/{id}";
const NEWEST: &str = "/order";
const SEARCH: &str = "/orders";

/// The shared state of the handlers.
pub(crate) struct App {
    client: async_nats::Client,
    cache: Arc<Cache>,
    feed: Arc<Feed>,
    layouts: Arc<Layouts>,
    read_through: ReadThrough,
    health: Arc<Health>,
    progress: Arc<FillProgress>,
    flow_state: Arc<FlowState>,
    metrics: Arc<Metrics>,
    depths: Arc<ChannelDepths>,
    /// Orders and searches served from memory.
    orders_served: RouteMetrics,
    newest_served: RouteMetrics,
    searches_served: RouteMetrics,
    audit: audit::FailedAttempts,
    large: response_budget::ResponseBudget,
    dead_letters: dead_letters::DeadLettersApi,
    settings: Arc<Settings>,
    traces: Option<Arc<Traces>>,
    /// Cancelled at shutdown, to end responses that would last as long as the client listens.
    stop: CancellationToken,
}

impl App {
    pub(crate) fn new(context: &Context, depths: Arc<ChannelDepths>) -> Arc<Self> {
        Arc::new(Self {
            cache: context.cache.clone(),
            feed: context.feed.clone(),
            layouts: context.layouts.clone(),
            read_through: ReadThrough::start(
                MissSources {
                    settings: context.settings.clone(),
                    client: context.client.clone(),
                    flow_state: context.flow_state.clone(),
                },
                context.cache.clone(),
                context.metrics.clone(),
            ),
            health: context.health.clone(),
            progress: context.progress.clone(),
            flow_state: context.flow_state.clone(),
            orders_served: RouteMetrics::new(&context.metrics, ORDER, StatusCode::OK),
            newest_served: RouteMetrics::new(&context.metrics, NEWEST, StatusCode::OK),
            searches_served: RouteMetrics::new(&context.metrics, SEARCH, StatusCode::OK),
            metrics: context.metrics.clone(),
            depths,
            audit: audit::FailedAttempts::default(),
            large: response_budget::ResponseBudget::new(),
            dead_letters: dead_letters::DeadLettersApi::new(
                context.dead_letters.clone(),
                context.receipts.clone(),
            ),
            settings: context.settings.clone(),
            traces: context.traces.clone(),
            client: context.client.clone(),
            stop: context.stop.clone(),
        })
    }

    /// The searchable members.
    fn members(&self) -> query::Members<'_> {
        query::Members { names: &self.settings.search, paths: &self.settings.search_paths }
    }

    /// Whether memory has been filled from the whole table.
    fn has_whole_table(&self) -> bool {
        self.health.is_up(Part::Fill)
    }
}

/// All routes.
fn router(app: Arc<App>) -> Router {
    let own = from_fn(same_origin::require_own);
    let vary = from_fn(compress::vary);
    let guarded = Router::new()
        .route("/mem_len", get(order_pages::mem_len))
        .route("/order_pages/last", get(order_pages::last))
        .route("/order_pages/{n}", get(order_pages::page))
        .route(ORDER, get(order::order))
        .route(NEWEST, get(newest_order::newest))
        .route(SEARCH, get(orders::search))
        .route("/events", get(events::events))
        .route("/dead_letters", get(dead_letters::list).layer(compress::layer()).layer(vary.clone()))
        .route("/dead_letters/{key}", get(dead_letters::show).layer(compress::layer()).layer(vary.clone()))
        .layer(from_fn_with_state(app.clone(), auth::require_read))
        .merge(dead_letters::replay_routes(&app))
        .layer(from_fn(no_store::keep_out_of_caches));
    let session =
        post(session::open).delete(session::close).layer(DefaultBodyLimit::max(MAX_FORM_BYTES)).layer(own);
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
        .fallback(async || text(StatusCode::NOT_FOUND, "404 page not found"))
        .method_not_allowed_fallback(async || text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed"))
        .layer(from_fn_with_state(app.clone(), observe))
        .with_state(app.clone());
    let router = cors::allow(router, &app.settings.cors_origins);
    router.layer(from_fn_with_state(app, host::require))
}

/// The metrics of one route and status, without a look-up of the counter for each request.
struct RouteMetrics {
    requests: IntCounter,
    seconds: Histogram,
}

impl RouteMetrics {
    fn new(metrics: &Metrics, route: &str, status: StatusCode) -> Self {
        Self {
            requests: metrics.requests.with_label_values(&[route, status.as_str()]),
            seconds: metrics.request_seconds.with_label_values(&[route]),
        }
    }

    fn count(&self, begun: Instant) {
        self.requests.inc();
        self.seconds.observe(begun.elapsed().as_secs_f64());
    }
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

fn count(metrics: &Metrics, route: &str, status: StatusCode, begun: Instant) {
    metrics.requests.with_label_values(&[route, status.as_str()]).inc();
    metrics.request_seconds.with_label_values(&[route]).observe(begun.elapsed().as_secs_f64());
}

/// A line of text, as Go's `http.Error` writes it.
fn text(status: StatusCode, message: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, format!("{message}\n")).into_response()
}

fn json(body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body.into()).into_response()
}
