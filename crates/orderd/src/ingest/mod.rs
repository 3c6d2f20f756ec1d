//! From NATS to orders: `natschan -> msgdatachan -> orderschan`, and the fan-out to memory and table.

pub(crate) mod source;
pub(crate) mod fetch;
pub(crate) mod filter;
pub(crate) mod decode;
pub(crate) mod fan_out;
