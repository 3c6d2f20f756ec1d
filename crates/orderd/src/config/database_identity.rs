//! The identity of the database with the orders. After a change, DATABASE_URL may lead to the same database by another
//! route, to its standby or to a copy, but not to another database with the same names.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Table;

/// The row of `orderd_position`, for a table, a stream and a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PositionKey {
    pub(crate) table: Table,
    pub(crate) stream: String,
    pub(crate) topic: String,
}

/// What identifies the database in use, as far as it is known. The settings share it, because every connection is made
/// from them.
#[derive(Debug, Default)]
pub(crate) struct DatabaseIdentity(Mutex<KnownDatabase>);

#[derive(Debug, Default)]
struct KnownDatabase {
    /// Servers and database, in words.
    address: Option<String>,
    /// The row of `orderd_position`, and when its stream was made.
    position: Option<(PositionKey, i64)>,
}

impl DatabaseIdentity {
    fn known(&self) -> MutexGuard<'_, KnownDatabase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the row by which this database is known from others.
    pub(crate) fn note(&self, key: &PositionKey, stream_created: i64) {
        self.known().position = Some((key.clone(), stream_created));
    }

    /// Whether these servers and this database are not those in use.
    pub(crate) fn is_elsewhere(&self, address: &str) -> bool {
        self.known().address.as_deref().is_some_and(|known| known != address)
    }

    /// The row that another address than the current one must have; `None` where any address will do, because nothing
    /// was found anywhere yet, or this is the current address.
    pub(crate) fn expected_at(&self, address: &str) -> Option<(PositionKey, i64)> {
        let known = self.known();
        let is_other = known.address.as_deref().is_some_and(|known| known != address);
        known.position.clone().filter(|_| is_other)
    }

    /// Sets the current address.
    pub(crate) fn set_address(&self, address: &str) {
        self.known().address = Some(address.to_owned());
    }
}
