//! Finds the messages by which dead letters of erased orders were replayed. Only a header names the order, so the
//! headers of the stream are read, from the order's own message on.

use std::collections::HashSet;
use std::ops::ControlFlow;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use order::Key;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::dead_letters::dead_letter_format::key_of_dead_letter;
use crate::dead_letters::store::DeadLetterStore;
use crate::nats::stream_scan::Scan;

/// Finds replays. Does not read a part of the stream twice.
#[derive(Default)]
pub(super) struct Replays {
    /// The keys that are looked for.
    keys: HashSet<String>,
    /// The found messages: sequence and key.
    found: Vec<(u64, String)>,
    /// Up to here the stream was read for all of `keys`.
    read: u64,
}

impl Replays {
    /// The sequences of the replays of this order, as far as the stream was searched.
    pub(super) fn of(&self, key: &str) -> Vec<u64> {
        self.found.iter().filter(|(_, of)| of == key).map(|&(sequence, _)| sequence).collect()
    }

    /// Looks for those of these keys, up to the end that the stream has now.
    pub(super) async fn search(
        &mut self,
        dead_letters: &DeadLetterStore,
        stream: &Stream,
        topic: &str,
        keys: &[String],
    ) -> anyhow::Result<()> {
        let end = stream.get_info().await?.state.last_sequence;
        let sequence = |key: &String| Key::sequence_of(key).filter(|sequence| *sequence < end);
        let new: Vec<&String> =
            keys.iter().filter(|key| !self.keys.contains(*key) && sequence(key).is_some()).collect();
        let oldest = new.iter().min_by_key(|key| sequence(key));
        // After the oldest new key, or where the last scan ended.
        let known = (!self.keys.is_empty()).then_some(self.read);
        let Some(after) = oldest.and_then(|key| sequence(key)).into_iter().chain(known).min() else {
            return Ok(());
        };
        if after < end && had_dead_letters(dead_letters, oldest.and_then(|key| time_of(key))).await? {
            self.keys.extend(new.into_iter().cloned());
            self.scan(stream, topic, DeliverPolicy::ByStartSequence { start_sequence: after + 1 }).await?;
        } else {
            self.keys.extend(new.into_iter().cloned());
        }
        self.read = end;
        Ok(())
    }

    /// Looks for those of these keys among the messages since that time.
    pub(super) async fn search_since(
        &mut self,
        dead_letters: &DeadLetterStore,
        stream: &Stream,
        topic: &str,
        keys: &[String],
        since: OffsetDateTime,
    ) -> anyhow::Result<()> {
        if !had_dead_letters(dead_letters, Some(since.unix_timestamp_nanos())).await? {
            return Ok(());
        }
        self.keys.extend(keys.iter().cloned());
        self.scan(stream, topic, DeliverPolicy::ByStartTime { start_time: since }).await
    }

    async fn scan(
        &mut self,
        stream: &Stream,
        topic: &str,
        deliver_policy: DeliverPolicy,
    ) -> anyhow::Result<()> {
        // A work queue allows only one consumer, and keeps no acknowledged messages.
        if stream.cached_info().config.retention == RetentionPolicy::WorkQueue {
            return Ok(());
        }
        let filter_subject = topic.to_owned();
        let wanted =
            pull::Config { deliver_policy, filter_subject, headers_only: true, ..Default::default() };
        let (keys, found) = (&self.keys, &mut self.found);
        let scan = Scan::new(stream, wanted).await?;
        scan.for_each(|sequence, message| {
            let key = key_of_dead_letter(message.headers.as_ref());
            found.extend(key.filter(|key| keys.contains(key)).map(|key| (sequence, key)));
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        self.found.sort_unstable();
        self.found.dedup();
        Ok(())
    }
}

/// The time of the message that a key names, in nanoseconds.
fn time_of(key: &str) -> Option<i128> {
    Some(key).filter(|key| Key::is_from_stream(key))?.split_once('-')?.0.parse().ok()
}

/// Whether there may have been a dead letter since that time. Not if the stream of dead letters existed before and
/// never had a message.
async fn had_dead_letters(store: &DeadLetterStore, since: Option<i128>) -> anyhow::Result<bool> {
    let Some(info) = store.info(&*store.subjects().await?).await? else { return Ok(true) };
    let created = OffsetDateTime::parse(&info.created, &Rfc3339)?;
    let was_there = since.is_some_and(|since| since >= created.unix_timestamp_nanos());
    Ok(info.state.last_seq > 0 || !was_there)
}
