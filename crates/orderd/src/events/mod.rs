//! What `/events` sends: orders as they arrive, and statistics.

pub(crate) mod feed;
mod sampler;
pub(crate) mod stats;
pub(crate) mod unsampled;
