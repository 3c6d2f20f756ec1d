//! `DELETE /order/{id}`: erases an order everywhere. It needs a token with the right to erase.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete};
use axum::{Extension, Router};
use tokio::sync::Semaphore;

use crate::config::Right;
use crate::erasure::Eraser;
use crate::http::middleware::auth::{self, Caller};
use crate::http::middleware::same_origin;
use crate::http::router::{ORDER, UNNAMED};
use crate::http::routes::segment::Segment;
use crate::http::{App, text};
use crate::logging::audit::Action;
use crate::wording::shown;

/// Maximum number of erasures at once: each has a connection to PostgreSQL.
static ERASURES: Semaphore = Semaphore::const_new(2);

/// The route, if tokens for it are set; otherwise the method is not allowed.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    if !app.settings.access.is_set(Right::Erase) {
        return Router::new();
    }
    let guard = middleware::from_fn_with_state(app.clone(), auth::require_erase);
    // Browsers add a session's cookie also to requests from other sites' pages.
    let own = middleware::from_fn(same_origin::require_own);
    let erasing = |methods: MethodRouter<Arc<App>>| methods.layer(guard.clone()).layer(own.clone());
    Router::new().route(ORDER, erasing(delete(erase))).route(UNNAMED, erasing(delete(erase_unnamed)))
}

/// Erases the order whose id is empty.
async fn erase_unnamed(state: State<Arc<App>>, by: Extension<Caller>) -> Response {
    erase(state, by, Segment(String::new())).await
}

/// 204 if it is erased everywhere, 404 if nothing of it exists. 503: not everywhere yet; the same request continues.
async fn erase(
    State(app): State<Arc<App>>,
    Extension(Caller(by)): Extension<Caller>,
    Segment(id): Segment,
) -> Response {
    let action = Action::begin("erase", &by, &id, "incomplete");
    let erased = erased(&app, &id).await;
    action.became(match &erased {
        Ok(true) => "erased",
        Ok(false) => "not_found",
        Err(_) => "incomplete",
    });
    match erased {
        Ok(false) => text(StatusCode::NOT_FOUND, "404 resource not found"),
        Ok(true) => {
            app.cache.erase(&id.as_str().into());
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            tracing::error!(
                id = shown(&id),
                error = format!("{error:#}"),
                "not erased everywhere; send the same request again"
            );
            let mut refused = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "503 not erased everywhere; send the same request again",
            );
            refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            refused
        }
    }
}

/// Whether anything of it existed. An order only in memory counts: its row was deleted by another program.
async fn erased(app: &App, id: &str) -> anyhow::Result<bool> {
    let (postgres, nats) = (app.settings.postgres.clone(), app.settings.nats.clone());
    let eraser = Eraser { postgres, nats, client: app.client.clone() };
    let _turn = ERASURES.acquire().await?;
    let in_memory = app.cache.contains(id);
    let mut eraser = eraser.connect().await?;
    let keys = [id.to_owned()];
    let found = eraser.find(&keys).await?.pop().unwrap_or_default();
    let has_dead_letter = found.has_dead_letter;
    let is_erased = eraser.erase(id, found, in_memory).await?.is_some();
    if has_dead_letter {
        eraser.erase_new_replays(&keys).await?;
    }
    Ok(is_erased)
}
