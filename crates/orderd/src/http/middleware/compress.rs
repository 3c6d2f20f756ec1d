//! Compresses responses for clients that accept gzip.
//!
//! `/order/{id}` and lists of ids are not compressed, because they usually fit into one packet; `/events` is not,
//! because buffering would delay events.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

/// Compression gains nothing if the response fits into one packet.
const MIN_COMPRESSED_BYTES: u64 = 1400;

pub(crate) fn layer() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new().compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES))
}

/// Marks a response as dependent on what the client accepts, even if it is too short to be compressed, or a 304.
pub(crate) async fn vary(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let says_so = |value: &HeaderValue| {
        value.to_str().is_ok_and(|names| names.to_ascii_lowercase().contains("accept-encoding"))
    };
    if !headers.get_all(header::VARY).iter().any(says_so) {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}
