//! Removes what is old: orders, by their age (`expiry`, `KEEP`), and committed messages from a stream that orderd made
//! (`stream_purge`, `STREAM_KEEP`).

pub(crate) mod stream_purge;
pub(crate) mod expiry;
