//! The identity of the database with the orders. A changed DATABASE_URL may lead to the same database by another route,
//! to its standby or to a copy, but not to another database with the same names.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Table;

/// The row of `orderd_position`, for a table, a stream and a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PositionKey {
    pub(crate) table: Table,
    pub(crate) stream: String,
    pub(crate) topic: String,
}

/// The known identity of the database in use. It belongs to the settings, because every connection is made from them.
#[derive(Debug, Default)]
pub(crate) struct DatabaseIdentity(Mutex<KnownDatabase>);

#[derive(Debug, Default)]
struct KnownDatabase {
    /// Servers and database, in words.
    address: Option<String>,
    /// The row of `orderd_position`, and the creation time of its stream.
    position: Option<(PositionKey, i64)>,
}

impl DatabaseIdentity {
    fn known(&self) -> MutexGuard<'_, KnownDatabase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the row that identifies this database.
    pub(crate) fn note(&self, key: &PositionKey, stream_created: i64) {
        self.known().position = Some((key.clone(), stream_created));
    }

    /// Whether these servers and this database are not those in use.
    pub(crate) fn is_elsewhere(&self, address: &str) -> bool {
        self.known().address.as_deref().is_some_and(|known| known != address)
    }

    /// The row that a database at a new address must have; `None` if any address is acceptable, because no database was
    /// found yet, or because this is the current address.
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
