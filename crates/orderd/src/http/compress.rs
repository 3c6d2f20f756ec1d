//! Answers as gzip, for whoever asks for it.
//!
//! Not for `/order/{id}` and lists of ids, which mostly fit into one packet as they are, and not for `/events`:
//! what is gathered to be compressed arrives late.

use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

/// What fits into one packet gains nothing.
const PACKET: u64 = 1400;

pub(super) fn layer() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new().compress_when(SizeAbove::new(PACKET))
}
