//! initmemchan + memchan -> memwritechan: what is read from the table and what has just come in, as one.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Record;
use super::cache::Hasher;
use crate::ingest::Orders;

/// Runs until both inputs close.
pub(crate) async fn run(
    mut initmemchan: mpsc::Receiver<Vec<Record>>,
    mut memchan: mpsc::Receiver<Arc<Orders>>,
    memwritechan: mpsc::Sender<Vec<Record>>,
    mut hasher: Hasher,
) -> anyhow::Result<()> {
    loop {
        let records = tokio::select! {
            Some(orders) = memchan.recv() => records(&orders, &mut hasher)?,
            Some(records) = initmemchan.recv() => records,
            else => return Ok(()),
        };
        if memwritechan.send(records).await.is_err() {
            return Ok(());
        }
    }
}

fn records(orders: &Orders, hasher: &mut Hasher) -> anyhow::Result<Vec<Record>> {
    orders.orders.iter().map(|order| Ok(hasher.record_of(order)?)).collect()
}
