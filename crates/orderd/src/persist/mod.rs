//! From orders to rows: `encodechan -> gobchan -> PostgreSQL`, then the acknowledgement.

pub(crate) mod encode;
mod batch;
pub(crate) mod database;
pub(crate) mod tell;
