//! Pages of other addresses may read where `HTTP_CORS_ORIGIN` names them; nobody may without it.
//!
//! With a token that they have themselves: the session's cookie is for the page of this address alone.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

const ANY: &str = "*";

/// The router, with what browsers need to know on each answer.
pub(super) fn allow(router: Router, origins: &[HeaderValue]) -> Router {
    if origins.is_empty() {
        return router;
    }
    let any = origins.iter().any(|origin| origin == ANY);
    let origins = if any { AllowOrigin::any() } else { AllowOrigin::list(origins.iter().cloned()) };
    router.layer(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::HEAD])
            .allow_headers([header::AUTHORIZATION, HeaderName::from_static("last-event-id")])
            .expose_headers([header::ETAG, header::RETRY_AFTER, header::LINK, header::CONTENT_LOCATION]),
    )
}
