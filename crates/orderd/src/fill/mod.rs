//! From the table to memory: at the start, continuously, and where a look-up misses.

pub(crate) mod table_reader;
pub(crate) mod resolver;
pub(crate) mod fan_in;
pub(crate) mod cache_writer;
pub(crate) mod read_through;
