//! From the table to memory: the fill at startup, look-ups of orders in doubt, and read-through on a miss.

pub(crate) mod table_reader;
pub(crate) mod doubt_resolver;
pub(crate) mod fan_in;
pub(crate) mod cache_writer;
