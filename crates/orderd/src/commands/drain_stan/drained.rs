//! Finds messages that an earlier run has already moved into the stream.
//!
//! A header of each drained message names its sequence in the channel, and the stream has them in the channel's order.
//! So the stream itself shows what was drained, until it is purged. Where the draining began is stored in another
//! stream, with one message per channel.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::{Context as _, ensure};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, Message};

use crate::commands::progress::Progress;
use crate::nats::stream_scan;

/// Which message of which channel it was: `{cluster}/{channel}/{sequence}`.
pub(super) const HEADER: &str = "Orderd-Stan";

/// The stream that records where the draining of a channel began.
const STREAM: &str = "ORDERS_DRAIN";
const PREFIX: &str = "drain";

/// Sequences, as ranges: of those that come in order, one range is kept.
#[derive(Default)]
pub(super) struct Sequences {
    /// The end of each range by its start, both included.
    ranges: BTreeMap<u64, u64>,
}

impl Sequences {
    pub(super) fn insert(&mut self, sequence: u64) {
        if self.contains(sequence) {
            return;
        }
        let end = self.ranges.remove(&(sequence + 1)).unwrap_or(sequence);
        match self.ranges.range_mut(..sequence).next_back() {
            Some((_, before)) if *before + 1 == sequence => *before = end,
            _ => drop(self.ranges.insert(sequence, end)),
        }
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.ranges.range(..=sequence).next_back().is_some_and(|(_, end)| *end >= sequence)
    }
}

/// The messages of a channel that are already in the stream.
pub(super) struct DrainedMessages {
    pub(super) sequences: Sequences,
    /// Drained messages before this one of the channel may have been purged.
    purged_before: u64,
}

impl DrainedMessages {
    /// Finds the messages that earlier runs have drained.
    pub(super) async fn find(
        context: &Context,
        orders: &Stream,
        channel: &str,
        replicas: usize,
    ) -> anyhow::Result<Self> {
        let state = orders.get_info().await?.state;
        let mut sequences = Sequences::default();
        let Some(begun) = begun(context, channel, replicas, state.last_sequence + 1).await? else {
            return Ok(Self { sequences, purged_before: 0 });
        };
        let from = begun.max(state.first_sequence);
        let oldest = if from > state.last_sequence {
            None
        } else {
            read(orders, channel, from..=state.last_sequence, &mut sequences).await?
        };
        let purged_before = if begun >= state.first_sequence { 0 } else { oldest.unwrap_or(u64::MAX) };
        Ok(Self { sequences, purged_before })
    }

    /// Whether a message of the channel is in the stream.
    ///
    /// # Errors
    /// The answer was purged from the stream.
    pub(super) fn has(&self, sequence: u64, redelivered: bool) -> anyhow::Result<bool> {
        if self.sequences.contains(sequence) {
            return Ok(true);
        }
        // A message that was never delivered before can't have been drained.
        ensure!(
            !redelivered || sequence >= self.purged_before,
            "message {sequence} of the channel may have been drained before, but the messages that would \
             show it were purged from the stream; look for it in the table, and remove it from there or \
             from the channel"
        );
        Ok(false)
    }
}

/// Where in the stream the draining of this channel began; `None` if it begins now.
async fn begun(context: &Context, channel: &str, replicas: usize, now: u64) -> anyhow::Result<Option<u64>> {
    let config = stream::Config {
        name: STREAM.into(),
        subjects: vec![format!("{PREFIX}.>")],
        max_messages_per_subject: 1,
        num_replicas: replicas,
        ..Default::default()
    };
    let kept = context.get_or_create_stream(config).await.context("can't store where draining began")?;
    let subject = format!("{PREFIX}.{}", channel.replace('/', "."));
    match kept.get_last_raw_message_by_subject(&subject).await {
        Ok(message) => Ok(Some(std::str::from_utf8(&message.payload)?.parse()?)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
            context.publish(subject, now.to_string().into()).await?.await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads the headers from a sequence on; returns the first message of the channel that is found.
async fn read(
    orders: &Stream,
    channel: &str,
    searched: RangeInclusive<u64>,
    sequences: &mut Sequences,
) -> anyhow::Result<Option<u64>> {
    let progress = Progress::new(Some(searched.end() + 1 - searched.start()), "messages checked");
    let mut oldest = None;
    let from = DeliverPolicy::ByStartSequence { start_sequence: *searched.start() };
    let show = |_, message: &Message| {
        progress.add(1);
        if let Some(sequence) = drained(message, channel) {
            sequences.insert(sequence);
            oldest.get_or_insert(sequence);
        }
    };
    stream_scan::headers(orders, from, show).await?;
    progress.finish("messages checked");
    Ok(oldest)
}

fn drained(message: &Message, channel: &str) -> Option<u64> {
    let header = message.headers.as_ref()?.get(HEADER)?;
    header.as_str().strip_prefix(channel)?.strip_prefix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_that_meet_become_one_range() {
        let mut sequences = Sequences::default();
        [5, 3, 1, 2, 4, 4, 9].into_iter().for_each(|sequence| sequences.insert(sequence));
        assert_eq!(sequences.ranges, BTreeMap::from([(1, 5), (9, 9)]));
        let sequences: Vec<u64> = (0..=10).filter(|sequence| sequences.contains(*sequence)).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 9]);
    }
}
