//! What a request passes before its route: which host and origin it may come from, its token, and headers of every response.

pub(crate) mod host;
pub(crate) mod same_origin;
pub(crate) mod auth;
pub(crate) mod cors;
pub(crate) mod compress;
pub(crate) mod no_store;
