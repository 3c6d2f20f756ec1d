//! The second line of defence against a message that breaks the NATS client for an unknown reason: its connection
//! breaks, or its task dies, whenever that message is delivered.
//!
//! If delivery has ended twice at one sequence, separate clients try the next message. If each of them fails too, the
//! message is requested with `$JS.API.STREAM.MSG.GET`, whose answer is JSON, and becomes a dead letter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Event, Subject};
use order::Key;
use tokio::time::timeout;

use super::jetstream::{OrderedConsumer, PullLimit};
use crate::config::Nats;
use crate::nats::intake_message::{Message, StreamPosition};
use crate::nats::{self, orders_stream, stored_message};

/// Number of times that reading ends at one sequence before the next message is suspected.
const MAX_FAILURES: u32 = 2;

/// Number of clients that then have to fail at the message.
const TRIALS: usize = 2;

/// Time limit of each for the message.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Counts how often reading has ended at one sequence.
#[derive(Default)]
pub(crate) struct RepeatedFailures {
    after: u64,
    count: u32,
}

impl RepeatedFailures {
    /// Records that reading has ended without a message beyond `after`. Returns whether to suspect the next message.
    pub(crate) fn add(&mut self, after: u64) -> bool {
        if self.after != after {
            *self = Self { after, count: 0 };
        }
        self.count += 1;
        self.count >= MAX_FAILURES
    }

    /// Resets the count: the message was not the reason.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The next message beyond `after`, if no client can receive it.
///
/// # Errors
/// The server can't be reached.
pub(crate) async fn find(settings: &Nats, after: u64) -> anyhow::Result<Option<Message>> {
    let Some(message) = read_raw(settings, after).await? else { return Ok(None) };
    for _ in 0..TRIALS {
        if !breaks_client(settings, after).await? {
            return Ok(None);
        }
    }
    Ok(Some(message))
}

/// Whether the connection of a new client ends when the next message beyond `after` is delivered.
async fn breaks_client(settings: &Nats, after: u64) -> anyhow::Result<bool> {
    let broken = Arc::new(AtomicBool::new(false));
    let (note, gone) = (broken.clone(), EndFlag(broken.clone()));
    let client = nats::connect_once_observed(settings, move |event| {
        let _gone = &gone;
        if *event == Event::Disconnected {
            note.store(true, Ordering::Relaxed);
        }
    });
    let client = client.await?;
    let stream = orders_stream::find_or_create(&settings.jetstream(client.clone()), settings).await?;
    let one = PullLimit::ONE;
    let mut consumer =
        OrderedConsumer::new(&stream, &settings.topic, after, one, client.max_payload()).await?;
    let mut messages = Vec::new();
    let delivered = async {
        // Ends with the connection, or when a request was answered.
        while messages.is_empty() && !broken.load(Ordering::Relaxed) {
            if timeout(TRIAL_TIMEOUT / 50, consumer.chunk(&mut messages))
                .await
                .is_ok_and(|ended| ended.is_err())
            {
                break;
            }
        }
    };
    drop(timeout(TRIAL_TIMEOUT, delivered).await);
    Ok(messages.is_empty() && broken.load(Ordering::Relaxed))
}

/// Set when the task that holds it ends: the client's, by a panic.
struct EndFlag(Arc<AtomicBool>);

impl Drop for EndFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The first message of the topic beyond `after`, as stored.
async fn read_raw(settings: &Nats, after: u64) -> anyhow::Result<Option<Message>> {
    let client = nats::connect_once(settings).await?;
    let context = settings.jetstream(client);
    let stream = orders_stream::find_or_create(&context, settings).await?;
    let name = &stream.cached_info().config.name;
    let Some(message) = stored_message::first_from(&context, name, &settings.topic, after + 1).await? else {
        return Ok(None);
    };
    let position =
        StreamPosition { sequence: message.sequence, timestamp_ns: i64::try_from(message.time_ns)? };
    Ok(Some(Message {
        subject: Subject::from(message.subject),
        payload: message.payload.into(),
        headers: None,
        key: Key::from_stream(position.timestamp_ns, position.sequence),
        position,
        replayed: false,
        is_unreadable: true,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_suspected_when_reading_ends_before_it_again() {
        let mut failures = RepeatedFailures::default();
        assert!(!failures.add(7) && !failures.add(8) && failures.add(8) && failures.add(8));
        failures.clear();
        assert!(!failures.add(8) && !failures.add(7) && !failures.add(8));
    }
}
