//! Notes about dead letters, in their stream: which message becomes the order of one, and which were dropped. They decide
//! when messages are read again, after a restore for instance.

use anyhow::Context as _;
use async_nats::HeaderMap;
use bytes::Bytes;
use order::Key;

use super::dead_letter_format::{header, once};
use super::store::{DeadLetterStore, LOOKUP_TIMEOUT, in_time};
use super::subjects::DeadLetterSubjects;
use crate::backoff::Backoff;
use crate::nats::info;

/// Maximum number of notes to delete per request.
const MAX_NOTES_PER_REQUEST: usize = 1000;

/// How to handle a message with a dead letter's key in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The order of that dead letter.
    Honoured,
    /// Another replay of a dead letter that was accepted.
    TakenIn,
    /// A replay of a dead letter that was dropped.
    Dropped,
    /// There never was such a dead letter.
    Foreign,
}

/// The note of which message becomes the order of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenInNote {
    /// This process stored it, at this sequence of the stream of dead letters.
    Own(u64),
    /// A later message is noted.
    OfLater,
    /// The stream has no room for it.
    Missing,
}

impl DeadLetterStore {
    /// How to handle the message at `sequence`, whose header names the dead letter with that key. Waits while the
    /// server can't be reached.
    pub(crate) async fn judge_replay(&self, key: &str, sequence: u64) -> Replay {
        let mut backoff = Backoff::default();
        loop {
            let found = tokio::time::timeout(LOOKUP_TIMEOUT, self.judge_replay_once(key, sequence)).await;
            match found.map_err(anyhow::Error::from).flatten() {
                Ok(found) => return found,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "can't look up a dead letter; retrying")
                }
            }
            backoff.wait().await;
        }
    }

    async fn judge_replay_once(&self, key: &str, sequence: u64) -> anyhow::Result<Replay> {
        // Anything else might be a wildcard, and so the key of whatever is stored.
        if !Key::is_from_stream(key) {
            return Ok(Replay::Foreign);
        }
        if self.find(key).await?.is_some() {
            return Ok(Replay::Honoured);
        }
        let subjects = self.subjects().await?;
        if let Some(by) = self.taken_in_by(&subjects, key).await? {
            // By this message, and the table may have gone back since.
            return Ok(if by == sequence { Replay::Honoured } else { Replay::TakenIn });
        }
        let is_dropped = self.last(&subjects, &subjects.dropped(key)).await?.is_some();
        Ok(if is_dropped { Replay::Dropped } else { Replay::Foreign })
    }

    /// Whether the message at `sequence` has become the order of that dead letter, which is gone.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn has_taken_in(&self, key: &str, sequence: u64) -> anyhow::Result<bool> {
        let subjects = self.subjects().await?;
        let is_there = self.last(&subjects, &subjects.dead_letter(key)).await?.is_some();
        Ok(!is_there && self.taken_in_by(&subjects, key).await? == Some(sequence))
    }

    /// Whether the message at `sequence` is noted as the one that becomes the order of that dead letter. Waits while the
    /// server can't be reached.
    pub(crate) async fn is_noted_taken_in(&self, key: &str, sequence: u64) -> bool {
        let mut backoff = Backoff::default();
        loop {
            let noted = async { self.taken_in_by(&*self.subjects().await?, key).await };
            match tokio::time::timeout(LOOKUP_TIMEOUT, noted).await.map_err(anyhow::Error::from).flatten() {
                Ok(by) => return by == Some(sequence),
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "can't look up a note of a dead letter; retrying"
                    );
                }
            }
            backoff.wait().await;
        }
    }

    pub(super) async fn taken_in_by(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
    ) -> anyhow::Result<Option<u64>> {
        let note = self.last(subjects, &subjects.taken_in(key)).await?;
        Ok(note.and_then(|note| taken_in_by(Some(&note.headers))))
    }

    /// Notes that the message at `sequence` becomes the order of the dead letter, always in a new copy: a late
    /// [`Self::withdraw`] must not reach the note of another process. A later message that is noted stays noted, because
    /// it is read again after this one.
    pub(super) async fn put_taken_in(&self, key: &str, sequence: u64) -> anyhow::Result<TakenInNote> {
        let subjects = self.subjects().await?;
        let subject = subjects.taken_in(key);
        let mut headers = once();
        headers.insert(header::TAKEN_IN_BY, sequence.to_string().as_str());
        if let Some(stored) = in_time(self.put(subject.clone(), headers.clone(), Bytes::new())).await? {
            return Ok(TakenInNote::Own(stored));
        }
        let changed = || format!("another process has changed the note of {key} meanwhile");
        let note = self.stored_last(&subjects, &subject).await?.with_context(changed)?;
        if taken_in_by(Some(&note.headers)) > Some(sequence) {
            return Ok(TakenInNote::OfLater);
        }
        let stored = self.put_over(note.sequence, subject, headers, Bytes::new()).await?;
        let stored = stored.with_context(changed)?;
        self.delete_message(&subjects, note.sequence).await?;
        Ok(TakenInNote::Own(stored))
    }

    /// Notes that the order of that key does not come from a replay, unless another message is noted.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn note_own_row(&self, key: &str) -> anyhow::Result<()> {
        let subjects = self.subjects().await?;
        let Some(sequence) = Key::sequence_of(key) else { return Ok(()) };
        let mut headers = once();
        headers.insert(header::TAKEN_IN_BY, sequence.to_string().as_str());
        in_time(self.put(subjects.taken_in(key), headers, Bytes::new())).await.map(drop)
    }

    /// Deletes the notes of dead letters whose messages lie below `first`: these messages have left the stream and
    /// can't be read again. At most [`MAX_NOTES_PER_REQUEST`] in one call.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn forget_decided(&self, first: u64) -> anyhow::Result<()> {
        let subjects = self.subjects().await?;
        let mut left = MAX_NOTES_PER_REQUEST;
        for filter in subjects.all_decided() {
            for subject in info::subjects(&self.context, &subjects.stream, &filter).await? {
                let key = subjects.decided_key(&subject).unwrap_or_default();
                let has_left = |sequence: Option<u64>| sequence.is_some_and(|sequence| sequence < first);
                if !has_left(Key::sequence_of(key)) {
                    continue;
                }
                let Some(note) = self.stored_last(&subjects, &subject).await? else { continue };
                if subject == subjects.taken_in(key) && !has_left(taken_in_by(Some(&note.headers))) {
                    continue;
                }
                // This copy only: the note may be about another message by now.
                self.delete_message(&subjects, note.sequence).await?;
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The message that a note names.
pub(super) fn taken_in_by(headers: Option<&HeaderMap>) -> Option<u64> {
    headers?.get(header::TAKEN_IN_BY)?.as_str().parse().ok()
}
