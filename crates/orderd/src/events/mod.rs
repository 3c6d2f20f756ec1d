//! What `/events` sends: orders as they arrive, and statistics.

pub(crate) mod live_feed;
mod sampler;
pub(crate) mod stats;
pub(crate) mod filtered_feed;
