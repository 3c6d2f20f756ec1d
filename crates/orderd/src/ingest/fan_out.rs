//! orderschan -> memchan + encodechan: both branches get each chunk, at the pace of the slower one.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Orders;

/// Runs until `orderschan` closes.
pub(crate) async fn run(
    mut orderschan: mpsc::Receiver<Arc<Orders>>,
    memchan: mpsc::Sender<Arc<Orders>>,
    encodechan: mpsc::Sender<Arc<Orders>>,
) -> anyhow::Result<()> {
    while let Some(orders) = orderschan.recv().await {
        if memchan.send(orders.clone()).await.is_err() || encodechan.send(orders).await.is_err() {
            break;
        }
    }
    Ok(())
}
