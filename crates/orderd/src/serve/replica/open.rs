//! Messages that others may have taken, and that are not known to be in the table or never to be.

use std::collections::BTreeMap;
use std::time::Duration;

use order::Key;
use tokio::time::Instant;

/// How long after its header an order is first asked for, where the ack floor doesn't say that it is settled:
/// one message that is stuck must not hide all that come after it. Then after twice as long, and so on.
const FIRST: Duration = Duration::from_millis(200);

/// So many may be open that the durable has not delivered yet, and so many at all.
const AHEAD: usize = 4096;
const MOST: usize = 100_000;

/// By their places in the stream.
#[derive(Default)]
pub(super) struct Open {
    messages: BTreeMap<u64, Message>,
}

struct Message {
    key: Key,
    due: Instant,
    wait: Duration,
}

impl Open {
    pub(super) fn add(&mut self, sequence: u64, key: Key) {
        self.messages.insert(sequence, Message { key, due: Instant::now() + FIRST, wait: FIRST });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self, is_delivered: bool) -> bool {
        self.messages.len() < if is_delivered { MOST } else { AHEAD }
    }

    /// The lowest of them.
    pub(super) fn first(&self) -> Option<u64> {
        self.messages.first_key_value().map(|(&sequence, _)| sequence)
    }

    /// Keeps those.
    pub(super) fn retain(&mut self, keep: impl Fn(u64, &Key) -> bool) {
        self.messages.retain(|&sequence, message| keep(sequence, &message.key));
    }

    /// What is to be asked for now: all that is settled, and what has waited long enough.
    pub(super) fn due(&self, floor: u64) -> Vec<(u64, Key)> {
        let now = Instant::now();
        let due =
            self.messages.iter().filter(|&(&sequence, message)| sequence <= floor || message.due <= now);
        due.map(|(&sequence, message)| (sequence, message.key.clone())).collect()
    }

    /// It was asked for after `floor` was: one that is settled and not there is no order.
    pub(super) fn answered(&mut self, sequence: u64, is_there: bool, floor: u64) {
        if is_there || sequence <= floor {
            self.messages.remove(&sequence);
        } else if let Some(message) = self.messages.get_mut(&sequence) {
            message.wait *= 2;
            message.due = Instant::now() + message.wait;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_settled_is_asked_for_once_and_the_rest_less_and_less() {
        let mut open = Open::default();
        for sequence in 1..=3 {
            open.add(sequence, Key::from_stream(1, sequence));
        }
        let due = |open: &Open, floor| {
            open.due(floor).into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>()
        };
        assert_eq!(due(&open, 1), [1]);
        open.answered(1, false, 1);
        tokio::time::advance(FIRST).await;
        assert_eq!(due(&open, 1), [2, 3]);
        open.answered(2, true, 1);
        open.answered(3, false, 1);
        tokio::time::advance(FIRST).await;
        assert!(due(&open, 1).is_empty() && open.first() == Some(3));
        tokio::time::advance(FIRST).await;
        assert_eq!(due(&open, 1), [3]);
        open.answered(3, false, 3);
        assert!(open.is_empty());
    }
}
