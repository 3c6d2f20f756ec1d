//! HTTP: the state that the handlers share. `router` has their paths; each resource has a file in `routes/`.

mod router;
mod server;
mod middleware;
mod routes;
mod response_budget;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::order::Layouts;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cache::Cache;
use prometheus::{Histogram, IntCounter};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::events::live_feed::Feed;
use crate::fill_progress::FillProgress;
use crate::flow_state::FlowState;
use crate::health::{Health, Part};
use crate::logging::audit;
use crate::metrics::Metrics;
use crate::pipeline::{ChannelDepths, Context};
use crate::read_through::{MissSources, ReadThrough};
use crate::traces::Traces;

use self::router::{NEWEST, ORDER, SEARCH};
use self::routes::order::unavailable;
pub(crate) use self::routes::query::MEMBER;
use self::routes::{dead_letters, query};
pub(crate) use self::server::runtime::HttpThreads;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::server::serve_one;

/// Time limit for a list that memory lacks during the fill: most tables are read by then.
const FILL_TIMEOUT: Duration = Duration::from_secs(2);

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
                context.flow_state.clone(),
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

    /// Waits until it has been, for at most [`FILL_TIMEOUT`].
    async fn wait_whole_table(&self) {
        drop(tokio::time::timeout(FILL_TIMEOUT, self.health.wait_up(Part::Fill)).await);
    }

    /// The response to requests for counts and lists if the model does not fit the table, because they would show the
    /// table as empty, or nearly so.
    fn misfit(&self) -> Option<Response> {
        const MISFIT: &str = "503 the model does not fit the table, so its rows are neither counted nor listed: set \
                              MODEL or PG_TABLE; /readyz and `orderd model check` say what differs";
        self.progress.is_misfit().then(|| unavailable(MISFIT))
    }
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

/// An error of ours, of which only the log has the details.
fn internal_error() -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "500 internal error: the log of the service says which")
}

fn json(body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use crate::fuzzing::HttpHarness;

    /// Each says what is wrong and what is right. The status of an error is in its text.
    #[test]
    fn errors_say_what_is_wrong_and_what_is_right() {
        let harness = HttpHarness::with(&["--http-replay-token", "replay-with-this-token"]).unwrap();
        let none = HttpHarness::with(&["--search", "none"]).unwrap();
        for (harness, request, status, said) in [
            (&harness, "GET /order_pages/0", "400", "there is no page 0: pages are numbered from 1"),
            (&harness, "GET /order_pages/2", "404", "there is no page 2: pages are numbered from 1"),
            (
                &harness,
                "GET /order_pages/x",
                "404",
                "this is not the number of a page: pages are numbered from 1",
            ),
            (&harness, "GET /nowhere", "404", "/docs lists all paths"),
            (&harness, "POST /mem_len", "405", "the header Allow lists the allowed ones"),
            (&harness, "DELETE /order/1-1", "405", "HTTP_ERASE_TOKEN"),
            (
                &harness,
                "GET /dead_letters?before=x",
                "400",
                "before takes the number of a listed dead letter",
            ),
            (&harness, "GET /dead_letters?before=9007199254740992", "400", "up to 9007199254740991"),
            (&harness, "GET /order", "400", "by a value of one of these: order_uid, track_number"),
            (&none, "GET /order", "400", "the service's setting SEARCH names the members to search by"),
            (&none, "GET /order?x=1", "400", "there are none: the service's setting SEARCH"),
        ] {
            let request = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let response = harness.response_to(request.as_bytes());
            let response = String::from_utf8_lossy(&response);
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {response}");
            assert!(body.starts_with(status) && body.contains(said), "{request}: {body}");
        }
        // A body that is shorter than announced.
        let request = "POST /dead_letters/1-1/replay HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer replay-with-this-token\r\n\
                       content-length: 9\r\nconnection: close\r\n\r\n{";
        let response = harness.response_to(request.as_bytes());
        let response = String::from_utf8_lossy(&response);
        assert!(response.contains("400 the body did not arrive as a whole"), "{response}");
    }
}
