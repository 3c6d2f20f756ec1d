//! natschan -> msgdatachan: drops empty messages, and gives replayed dead letters their key back.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use order::Key;
use tokio::sync::mpsc;

use crate::dead_letters::dead_letter_format::key_of_dead_letter;
use crate::dead_letters::notes::Replay;
use crate::dead_letters::store::DeadLetterStore;
use crate::metrics::Metrics;
use crate::nats::intake_message::Message;
use crate::orders_in_doubt::OrdersInDoubt;
use crate::pipeline_chunks::{Messages, SkippedMessage};
use crate::receipts::SkipReason;

/// Maximum number of concurrent look-ups: any publisher can send this header, and must not block others.
const LOOKUPS_IN_FLIGHT: usize = 64;

/// Runs until `natschan` closes.
pub(crate) async fn run(
    mut natschan: mpsc::Receiver<Messages>,
    msgdatachan: mpsc::Sender<Messages>,
    dead_letters: Arc<DeadLetterStore>,
    in_doubt: OrdersInDoubt,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    while let Some(mut chunk) = natschan.recv().await {
        let mut replays = Vec::new();
        for message in chunk.messages.extract_if(.., |message| is_special(message)).collect::<Vec<_>>() {
            if message.payload.is_empty() {
                metrics.empty.inc_by(u64::from(chunk.run.writes));
                // A replay waits for a receipt with its dead letter's key.
                let key = key_of_dead_letter(message.headers.as_ref());
                let key = key.unwrap_or_else(|| message.key.as_str().to_owned());
                chunk.skipped.extend(SkippedMessage::asked_for(message, key, SkipReason::Empty));
            } else if let Some(key) = key_of_dead_letter(message.headers.as_ref()) {
                // Once the position has passed it, the table shows whether it became an order.
                in_doubt.add(&key, message.position.sequence);
                replays.push((message, key));
            }
        }
        if chunk.run.writes && !replays.is_empty() {
            let looked_up = stream::iter(replays)
                .map(|(message, key)| with_key_of_its_dead_letter(message, key, &dead_letters, &metrics));
            for looked_up in looked_up.buffered(LOOKUPS_IN_FLIGHT).collect::<Vec<_>>().await {
                match looked_up {
                    Ok(message) => chunk.messages.push(message),
                    Err(skipped) => chunk.skipped.extend(skipped),
                }
            }
            // Rows are committed in stream order, and the position moves with them.
            chunk.messages.sort_by_key(|message| message.position.sequence);
        }
        if msgdatachan.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Special messages are rare. The others are not moved, because messages are large.
fn is_special(message: &Message) -> bool {
    (message.payload.is_empty() && !message.is_unreadable)
        || key_of_dead_letter(message.headers.as_ref()).is_some()
}

/// A key in the header counts only while a dead letter with that key is stored, so that nobody can choose one. Without
/// it the message is skipped.
async fn with_key_of_its_dead_letter(
    message: Message,
    key: String,
    dead_letters: &DeadLetterStore,
    metrics: &Metrics,
) -> Result<Message, Option<SkippedMessage>> {
    let sequence = message.position.sequence;
    let reason = match dead_letters.judge_replay(&key, sequence).await {
        Replay::Honoured => return Ok(Message { key: Key::from(key), replayed: true, ..message }),
        Replay::TakenIn => {
            tracing::info!(sequence, "skipped a replay: its dead letter is already accepted");
            SkipReason::Accepted
        }
        Replay::Dropped => {
            tracing::info!(sequence, "skipped a replay: its dead letter is already dropped");
            SkipReason::Dropped
        }
        Replay::Foreign => {
            if metrics.foreign_keys.get() == 0 {
                tracing::warn!(
                    sequence,
                    "a message has the header Orderd-Key and there is no such dead letter: it is skipped; \
                     publish without that header. Further ones are only counted (orderd_foreign_keys_total)"
                );
            }
            metrics.foreign_keys.inc();
            SkipReason::ForeignKey
        }
    };
    Err(SkippedMessage::asked_for(message, key, reason))
}
