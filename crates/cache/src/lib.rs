//! Orders in memory: bodies by their ids, ids in the order of pages, and ids by the values of searched members.
//!
//! One stage writes (`memwritechan -> cache`); any number of requests read at the same time. Bodies lie in shards with
//! a lock each, held for one look-up or one insertion. The index has one lock, held for a page, a query or a handful of
//! orders. No lock is held across an `await`. Lock order: index, then shard.
//!
//! With a memory budget, some bodies are evicted: their ids and the hashes of their values stay, and a [`RowSource`]
//! has the rest.

mod cache;
mod entry;
mod entry_builder;
mod value_hashes;
mod index;
mod body_shards;
mod slot_table;
mod key_order;
mod value_index;
mod hash_index;
mod query;
#[cfg(test)]
mod query_tests;
mod stored_row;
mod json_cache;
mod memory_budget;
mod eviction;
mod yield_to_readers;

pub use self::body_shards::Slot;
pub use self::cache::{Cache, Inserted, Lookup, PAGE_SIZE, Page, WantedInserts};
pub use self::entry::{Entries, Entry};
pub use self::entry_builder::EntryBuilder;
pub use self::memory_budget::MemoryBudget;
pub use self::query::{Criterion, LIMIT, MAX_LIMIT, Matches, Query, QueryError};
pub use self::stored_row::{RowSource, StoredRow, Unavailable};
pub use self::value_hashes::{MAX_SEARCH_MEMBERS, ValueHashes};
