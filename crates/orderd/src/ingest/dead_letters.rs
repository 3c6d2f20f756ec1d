//! deadchan -> the stream of dead letters, then ack: what could not be taken in, kept with the reason.

use futures_util::StreamExt;
use futures_util::stream;
use order::Refusal;
use tokio::sync::mpsc;

use super::Message;
use crate::dead_letters::format::Refused;
use crate::dead_letters::store::Store;
use crate::metrics::Metrics;
use crate::persist::tell::Teller;
use crate::receipts::Receipts;
use crate::retry::Backoff;

/// How many are on their way to the server at once.
const UNDER_WAY: usize = 64;

/// A message and why it is refused.
pub(crate) struct DeadLetter {
    pub(crate) message: Message,
    pub(crate) refusal: Refusal,
}

/// Stores each dead letter and then acknowledges its message, until `deadchan` closes.
pub(crate) async fn run(
    mut deadchan: mpsc::Receiver<DeadLetter>,
    dead_letters: &Store,
    receipts: &Receipts,
    metrics: &Metrics,
    teller: &Teller,
) -> anyhow::Result<()> {
    let incoming = stream::poll_fn(move |context| deadchan.poll_recv(context));
    incoming
        .for_each_concurrent(UNDER_WAY, |letter| keep(letter, dead_letters, receipts, metrics, teller))
        .await;
    Ok(())
}

/// Waits as long as the server can't be reached: nothing is dropped.
async fn keep(
    letter: DeadLetter,
    dead_letters: &Store,
    receipts: &Receipts,
    metrics: &Metrics,
    teller: &Teller,
) {
    metrics.errors.inc();
    let mut backoff = Backoff::default();
    while let Err(error) = dead_letters.publish(&letter.refused()).await {
        tracing::warn!(
            key = letter.message.key.as_str(),
            error = format!("{error:#}"),
            "can't store a dead letter; trying again"
        );
        backoff.wait().await;
    }
    let reason = letter.refusal.reason.as_str();
    metrics.dead_letters.with_label_values(&[reason]).inc();
    tracing::warn!(
        key = letter.message.key.as_str(),
        subject = letter.message.subject.as_str(),
        sequence = letter.message.origin.sequence,
        reason,
        place = letter.refusal.path.as_deref().unwrap_or("$"),
        "message refused, kept as a dead letter"
    );
    receipts.refused(letter.message.headers.as_ref(), letter.message.key.as_str(), &letter.refusal).await;
    letter.message.receipt.acknowledge().await;
    teller.nothing(letter.message.origin.sequence);
}

impl DeadLetter {
    fn refused(&self) -> Refused<'_> {
        let Self { message, refusal } = self;
        Refused {
            subject: &message.subject,
            key: message.key.as_str(),
            sequence: message.origin.sequence,
            timestamp_ns: message.origin.timestamp_ns,
            payload: &message.payload,
            refusal,
        }
    }
}
