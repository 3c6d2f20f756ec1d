//! From the table to memory: the fill at startup, and look-ups of orders in doubt.

pub(crate) mod table_reader;
pub(crate) mod doubt_resolver;
pub(crate) mod fan_in;
pub(crate) mod cache_writer;
