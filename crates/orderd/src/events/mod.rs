//! What `/events` and the page are sent: orders as they come in, and counts.

pub(crate) mod feed;
mod sampler;
pub(crate) mod stats;
pub(crate) mod unsampled;
