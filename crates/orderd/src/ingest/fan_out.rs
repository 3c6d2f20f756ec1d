//! orderschan -> memchan + encodechan: sends each chunk to memory, and to the table if this process is the writer, at
//! the pace of the slower branch.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::pipeline_chunks::Orders;

/// Runs until `orderschan` closes.
pub(crate) async fn run(
    mut orderschan: mpsc::Receiver<Arc<Orders>>,
    memchan: mpsc::Sender<Arc<Orders>>,
    encodechan: mpsc::Sender<Arc<Orders>>,
) -> anyhow::Result<()> {
    while let Some(orders) = orderschan.recv().await {
        if memchan.send(orders.clone()).await.is_err() {
            break;
        }
        let is_written = orders.through.seq <= orders.run.after.seq;
        if orders.run.writes && !is_written && encodechan.send(orders).await.is_err() {
            break;
        }
    }
    Ok(())
}
