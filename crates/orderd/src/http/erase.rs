//! `DELETE /order/{id}`: erases an order everywhere. It needs a token of its own kind.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::delete;
use tokio::sync::Semaphore;

use super::{App, auth, text};
use crate::erasure::{Eraser, shown};
use crate::serve::cache::Gone;

/// How many are erased at once: each has a connection to PostgreSQL.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The route, where there are tokens for it; without them the method is not allowed.
pub(super) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    if app.settings.erase_tokens.current().0.is_empty() {
        return Router::new();
    }
    let guard = middleware::from_fn_with_state(app.clone(), require_erase_token);
    Router::new().route("/order/{id}", delete(erase).layer(guard))
}

async fn require_erase_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let tokens = app.settings.erase_tokens.current();
    if auth::bearer(request.headers()).is_some_and(|token| auth::is_one_of(token, &tokens.0)) {
        return next.run(request).await;
    }
    let mut refused = text(StatusCode::UNAUTHORIZED, &auth::refusal(request.headers(), "an erase token"));
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"orderd erase\""));
    refused
}

/// 204 when it is gone everywhere, 404 where nothing of it is. 503: not everywhere yet; the same again goes on.
async fn erase(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match erased(&app, &id).await {
        Ok(false) => text(StatusCode::NOT_FOUND, "404 resource not found"),
        Ok(true) => {
            app.cache.retract(&id.as_str().into(), Gone::Erased);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            tracing::error!(
                id = shown(&id),
                error = format!("{error:#}"),
                "order is not erased everywhere; the same request goes on"
            );
            let mut refused = text(StatusCode::SERVICE_UNAVAILABLE, "503 not erased everywhere; ask again");
            refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            refused
        }
    }
}

/// Whether anything of it was there. An order that is in memory alone counts: its row was deleted by others.
async fn erased(app: &App, id: &str) -> anyhow::Result<bool> {
    let (postgres, nats) = (app.settings.postgres.clone(), app.settings.nats.clone());
    let eraser = Eraser { postgres, nats, client: app.client.clone() };
    let _turn = TURNS.acquire().await?;
    let in_memory = app.cache.contains(id);
    let found = eraser.begin().await?.erase(&[id.to_owned()], |_| in_memory, || {}).await?;
    Ok(found.into_iter().any(|found| found.is_some()))
}
