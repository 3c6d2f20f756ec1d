//! Dead letters that were stored after their messages had become rows.
//!
//! A writer that was stopped for longer than its lease stores the dead letters that it had begun, when it goes on. If the
//! next writer has another model, it may have accepted those messages.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use order::{Body, Parser, RowFormat};
use tokio::sync::mpsc::UnboundedReceiver;

use super::store::DeadLetterStore;

/// Maximum number of dead letters that are looked at at once.
const IN_FLIGHT: usize = 64;

/// A row whose key has a dead letter.
pub(crate) struct FoundRow {
    pub(crate) body: Body,
    pub(crate) format: RowFormat,
}

/// Removes them.
pub(crate) struct LateDeadLetters {
    store: Arc<DeadLetterStore>,
    parser: Parser,
}

impl LateDeadLetters {
    pub(crate) fn new(store: Arc<DeadLetterStore>, parser: Parser) -> Self {
        Self { store, parser }
    }

    /// Removes the dead letters of these rows, until the channel closes.
    pub(crate) async fn remove_all(self, rows: UnboundedReceiver<FoundRow>) {
        let rows = stream::unfold(rows, async |mut rows| Some((rows.recv().await?, rows)));
        rows.for_each_concurrent(IN_FLIGHT, |row| self.remove(row)).await;
    }

    /// Removes the dead letter of a row, if its document is the row: with another document, by an import for instance,
    /// the dead letter is the only copy of its own.
    async fn remove(&self, row: FoundRow) {
        let key = row.body.key();
        let Some(payload) = self.store.payload_of(key).await else { return };
        let mut parser = self.parser.clone();
        parser.set_format(row.format);
        if parser.parse(&payload, key).is_ok_and(|order| *order.body() == row.body) {
            tracing::info!(key, "removing a dead letter whose message is a row: a writer has stored it late");
            self.store.withdraw(key).await;
        }
    }
}
