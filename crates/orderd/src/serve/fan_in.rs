//! initmemchan + memchan -> memwritechan: what is read from the table and what has just come in, as one.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Records;
use super::cache::Hasher;
use crate::ingest::Orders;

/// Runs until both inputs close.
pub(crate) async fn run(
    mut initmemchan: mpsc::Receiver<Records>,
    mut memchan: mpsc::Receiver<Arc<Orders>>,
    memwritechan: mpsc::Sender<Records>,
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

fn records(orders: &Orders, hasher: &mut Hasher) -> anyhow::Result<Records> {
    // A dead letter that was sent again comes from the table, once it is there.
    let plain = orders.orders.iter().zip(&orders.messages).filter(|(_, message)| !message.replayed);
    let records = plain.map(|(order, _)| Ok(hasher.record_of(order)?)).collect::<anyhow::Result<_>>()?;
    Ok(Records { generation: orders.run.generation, through: Some(orders.through.seq), records })
}
