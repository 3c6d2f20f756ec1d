//! Checks before a route: host, origin and token; and headers that every response gets.

pub(crate) mod host;
pub(crate) mod same_origin;
pub(crate) mod auth;
pub(crate) mod cors;
pub(crate) mod compress;
pub(crate) mod no_store;
