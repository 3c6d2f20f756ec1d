//! One file for each resource; `http/router.rs` has their paths. `query` reads the parameters and `segment` the
//! last parts of paths that several of them share.

pub(crate) mod query;
pub(crate) mod segment;
pub(crate) mod order;
pub(crate) mod newest_order;
pub(crate) mod orders;
pub(crate) mod full_orders;
pub(crate) mod order_pages;
pub(crate) mod events;
pub(crate) mod erase;
pub(crate) mod dead_letters;
pub(crate) mod session;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod assets;
