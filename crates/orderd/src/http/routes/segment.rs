//! The last segment of a path, decoded.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use crate::http::text;

/// An id, a key or a number in a path. What is not UTF-8 names nothing: 404.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let found = Path::from_request_parts(parts, state).await;
        found
            .map(|Path(segment)| Self(segment))
            .map_err(|_| text(StatusCode::NOT_FOUND, "404 resource not found"))
    }
}
