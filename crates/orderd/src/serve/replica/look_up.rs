//! PostgreSQL -> initmemchan: orders that others took and have not told of, by their keys.

use std::time::Duration;

use tokio::time::timeout;

use super::{Follower, Replica, record, warn_of_row};
use crate::postgres::{self, Unanswered};

/// Rows that are asked for in one query, and how long its answer may take.
const TOGETHER: usize = 2048;
const ANSWER: Duration = Duration::from_secs(10);

impl Follower {
    /// Asks the table for what others took. What was settled at the look before may be told no more.
    pub(super) async fn look_up(&mut self, floor: u64) -> anyhow::Result<()> {
        let Replica { taken, cache, company, metrics, .. } = &self.parts;
        self.open
            .retain(|sequence, key| !taken.has_all(sequence..=sequence) && !cache.contains(key.as_str()));
        let due = self.open.due(self.settled);
        for due in due.chunks(TOGETHER) {
            metrics.replica_lookups.inc_by(due.len() as u64);
            let ids: Vec<_> = due.iter().map(|(_, key)| key.as_str()).collect();
            let rows = postgres::rows(&mut self.connection, &self.parts.settings.postgres, &ids);
            let rows = timeout(ANSWER, rows).await.map_err(|_| Unanswered::Silent)??;
            let mut records = Vec::with_capacity(rows.len());
            for (sequence, key) in due {
                if let Some(row) = rows.get(key.as_str()) {
                    company.seen();
                    match record(&mut self.hasher, key.as_str(), row.as_deref()) {
                        Ok(record) => records.push(record),
                        Err(problem) => warn_of_row(key.as_str(), &problem),
                    }
                }
                self.open.answered(*sequence, rows.contains_key(key.as_str()), floor);
            }
            cache.readmit(records.iter().map(|record| record.body.key()));
            metrics.filled.inc_by(records.len() as u64);
            metrics.replica_orders.inc_by(records.len() as u64);
            if !records.is_empty() && self.initmemchan.send(records).await.is_err() {
                anyhow::bail!("the service stops");
            }
        }
        Ok(())
    }
}
