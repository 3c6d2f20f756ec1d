//! initmemchan + memchan -> memwritechan: merges the rows of the table with the orders of the stream.

use std::sync::Arc;

use cache::{Entries, EntryBuilder};
use tokio::sync::mpsc;

use crate::nats::intake_message::Message;
use crate::pipeline_chunks::Orders;

/// Runs until both inputs close.
pub(crate) async fn run(
    mut initmemchan: mpsc::Receiver<Entries>,
    mut memchan: mpsc::Receiver<Arc<Orders>>,
    memwritechan: mpsc::Sender<Entries>,
    mut entry_builder: EntryBuilder,
) -> anyhow::Result<()> {
    loop {
        let entries = tokio::select! {
            Some(orders) = memchan.recv() => entries(&orders, &mut entry_builder)?,
            Some(entries) = initmemchan.recv() => entries,
            else => return Ok(()),
        };
        if memwritechan.send(entries).await.is_err() {
            return Ok(());
        }
    }
}

fn entries(orders: &Orders, entry_builder: &mut EntryBuilder) -> anyhow::Result<Entries> {
    // Replayed dead letters come into memory from the table; so do orders that a writer with another model may decode
    // differently.
    let is_own_form = |message: &Message| orders.run.is_own_form(message.position.sequence);
    let plain = orders.orders.iter().zip(&orders.messages);
    let plain = plain.filter(|(_, message)| !message.replayed && is_own_form(message));
    let entries =
        plain.map(|(order, _)| Ok(entry_builder.entry_of(order)?)).collect::<anyhow::Result<_>>()?;
    Ok(Entries { generation: orders.run.generation, through: Some(orders.through.seq), entries })
}
