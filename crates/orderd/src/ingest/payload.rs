//! natschan -> msgdatachan: only messages with a payload go on, and dead letters that are sent again get back
//! their key.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use order::Key;
use tokio::sync::mpsc;

use super::Message;
use crate::dead_letters::format::key_of_dead_letter;
use crate::dead_letters::store::Store;
use crate::metrics::Metrics;
use crate::persist::tell::Teller;
use crate::serve::cache::Cache;

/// How many look-ups are under way at once: anybody can send this header, and shall hold up nobody else.
const LOOK_UPS: usize = 64;

/// Runs until `natschan` closes.
pub(crate) async fn run(
    mut natschan: mpsc::Receiver<Vec<Message>>,
    msgdatachan: mpsc::Sender<Vec<Message>>,
    dead_letters: Arc<Store>,
    cache: Arc<Cache>,
    teller: Arc<Teller>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    while let Some(mut kept) = natschan.recv().await {
        let mut replayed = Vec::new();
        for message in kept.extract_if(.., |message| is_special(message)).collect::<Vec<_>>() {
            if message.payload.is_empty() {
                metrics.empty.inc();
                message.receipt.acknowledge().await;
                teller.nothing(message.origin.sequence);
            } else if let Some(key) = key_of_dead_letter(message.headers.as_ref()) {
                replayed.push((message, key));
            }
        }
        let looked_up = stream::iter(replayed)
            .map(|(message, key)| with_key_of_its_dead_letter(message, key, &dead_letters, &cache));
        kept.extend(looked_up.buffered(LOOK_UPS).filter_map(std::future::ready).collect::<Vec<_>>().await);
        if !kept.is_empty() && msgdatachan.send(kept).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Few are: the others stay where they are, for a message is large to copy.
fn is_special(message: &Message) -> bool {
    message.payload.is_empty() || key_of_dead_letter(message.headers.as_ref()).is_some()
}

/// A key in the header counts only while a dead letter with that key is stored, so that nobody can choose one.
/// Without it the message is an echo of one that was taken in already.
async fn with_key_of_its_dead_letter(
    message: Message,
    key: String,
    dead_letters: &Store,
    cache: &Cache,
) -> Option<Message> {
    if dead_letters.is_stored(&key).await {
        cache.readmit(std::iter::once(key.as_str()));
        return Some(Message { key: Key::from(key), replayed: true, ..message });
    }
    tracing::info!(sequence = message.origin.sequence, "dead letter sent again is taken in already, dropped");
    message.receipt.acknowledge().await;
    None
}
