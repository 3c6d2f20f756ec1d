//! Notes about dead letters, in their stream: which message becomes the order of one, and which were dropped. They decide
//! when messages are read again, after a restore for instance. A note of a message stays until the message has left the
//! stream of orders: a process that refuses the message later must not rely on the copy of the dead letter that is there.

use anyhow::Context as _;
use async_nats::HeaderMap;
use bytes::Bytes;
use order::Key;

use super::dead_letter_format::{header, key_of_dead_letter, once};
use super::store::{DeadLetterStore, found, in_time, is_refused};
use super::subjects::DeadLetterSubjects;
use crate::backoff::Backoff;
use crate::nats::info;
use crate::receipts::SkipReason;

/// Maximum number of notes to delete per request.
const MAX_NOTES_PER_REQUEST: usize = 1000;

/// How to handle a message with a dead letter's key in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The order of that dead letter.
    Honoured,
    /// A replay of a dead letter that was accepted already.
    TakenIn,
    /// A replay of a dead letter that was dropped.
    Dropped,
    /// There never was such a dead letter.
    Foreign,
}

/// What dead letter and notes say about a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplayState {
    /// It has become the order, and the dead letter is gone.
    TakenIn,
    /// Nothing accepts it. A writer notes what it accepts before its commit moves the position, so a replay that the
    /// position has passed was refused, or skipped for this reason.
    NotAccepted(Option<SkipReason>),
    /// They do not decide it.
    Open,
}

/// The note of which message becomes the order of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenInNote {
    /// The sequence of that message in the stream of orders.
    pub(crate) by: u64,
    pub(crate) state: NoteState,
}

/// What became of the message that a note names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoteState {
    /// It becomes the order, and its dead letter is removed.
    Accepted,
    /// PostgreSQL refused its row.
    Refused,
    /// The row is from elsewhere, an import for instance. The dead letter stays until somebody drops it.
    KeyTaken,
}

/// A note that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredNote {
    /// This process stored it, at this sequence of the stream of dead letters.
    Own(u64),
    /// Another process has stored it, or a later message is noted.
    OfOther,
    /// The stream has no room for it.
    Missing,
}

impl TakenInNote {
    /// `None` if the headers are not of such a note.
    pub(super) fn read(headers: Option<&HeaderMap>) -> Option<Self> {
        let headers = headers?;
        let state = match headers.get(header::NOTE_STATE).map(|state| state.as_str()) {
            Some("refused") => NoteState::Refused,
            Some("key_taken") => NoteState::KeyTaken,
            _ => NoteState::Accepted,
        };
        Some(Self { by: headers.get(header::TAKEN_IN_BY)?.as_str().parse().ok()?, state })
    }

    /// The headers of a note whose subject has none.
    fn headers(self) -> HeaderMap {
        let mut headers = once();
        headers.insert(header::TAKEN_IN_BY, self.by.to_string().as_str());
        match self.state {
            NoteState::Accepted => {}
            NoteState::Refused => headers.insert(header::NOTE_STATE, "refused"),
            NoteState::KeyTaken => headers.insert(header::NOTE_STATE, "key_taken"),
        }
        headers
    }

    /// Whether it says that the message at `sequence` becomes the order.
    fn accepts(self, sequence: u64) -> bool {
        self == Self { by: sequence, state: NoteState::Accepted }
    }
}

impl DeadLetterStore {
    /// How to handle the message at `sequence`, whose header names the dead letter with that key. Waits while the
    /// server can't be reached.
    pub(crate) async fn judge_replay(&self, key: &str, sequence: u64) -> Replay {
        until_answered("look up a dead letter", || self.judge_replay_once(key, sequence)).await
    }

    async fn judge_replay_once(&self, key: &str, sequence: u64) -> anyhow::Result<Replay> {
        // Anything else might be a wildcard, and so the key of whatever is stored.
        if !Key::is_from_stream(key) {
            return Ok(Replay::Foreign);
        }
        let subjects = self.subjects().await?;
        if self.stored_last(&subjects, &subjects.dead_letter(key)).await?.is_some() {
            return Ok(Replay::Honoured);
        }
        if self.stored_last(&subjects, &subjects.dropped(key)).await?.is_some() {
            return Ok(Replay::Dropped);
        }
        Ok(match in_time(self.taken_in(&subjects, key)).await? {
            // The table may have gone back since.
            Some(note) if note.by == sequence => Replay::Honoured,
            Some(_) => Replay::TakenIn,
            None => Replay::Foreign,
        })
    }

    /// What is stored about the message at `sequence`, a replay of that dead letter.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn replay_state(&self, key: &str, sequence: u64) -> anyhow::Result<ReplayState> {
        let subjects = self.subjects().await?;
        let is_there = self.last(&subjects, &subjects.dead_letter(key)).await?.is_some();
        let is_dropped = self.last(&subjects, &subjects.dropped(key)).await?.is_some();
        let stored = self.last(&subjects, &subjects.taken_in(key)).await?;
        let is_taken =
            stored.as_ref().is_some_and(|stored| skipped_replay(&stored.headers) == Some(sequence));
        let note = stored.and_then(|stored| TakenInNote::read(Some(&stored.headers)));
        Ok(match note {
            Some(note) if note.accepts(sequence) && !is_there && !is_dropped => ReplayState::TakenIn,
            // Its writer has still to remove the dead letter, or a later replay has replaced the note.
            Some(note) if note.state == NoteState::Accepted && note.by >= sequence => ReplayState::Open,
            _ if is_taken => ReplayState::NotAccepted(Some(SkipReason::KeyTaken)),
            _ if is_dropped && !is_there => ReplayState::NotAccepted(Some(SkipReason::Dropped)),
            _ => ReplayState::NotAccepted(None),
        })
    }

    /// Whether the message at `sequence` is noted as the one that becomes the order of that dead letter. Waits while the
    /// server can't be reached.
    pub(crate) async fn is_noted_taken_in(&self, key: &str, sequence: u64) -> bool {
        let note = until_answered("look up a note of a dead letter", || async {
            in_time(self.taken_in(&*self.subjects().await?, key)).await
        });
        note.await.is_some_and(|note| note.accepts(sequence))
    }

    /// Whether the message at `sequence` of the stream of orders is a replay of that dead letter: a stream that was
    /// restored may lack it, or have another message there. Waits while the server can't be reached.
    pub(crate) async fn is_replay(&self, key: &str, sequence: u64) -> bool {
        until_answered("look up a replay", || async {
            let source = self.subjects().await?.source.clone();
            let stream = self.context.get_stream_no_info(&source).await?;
            let message = in_time(async { found(stream.get_raw_message(sequence).await) }).await?;
            Ok(message.is_some_and(|found| key_of_dead_letter(Some(&found.headers)).as_deref() == Some(key)))
        })
        .await
    }

    pub(super) async fn taken_in(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
    ) -> anyhow::Result<Option<TakenInNote>> {
        let note = self.last(subjects, &subjects.taken_in(key)).await?;
        Ok(note.and_then(|note| TakenInNote::read(Some(&note.headers))))
    }

    /// Notes that the message at sequence `by` becomes the order of the dead letter, always in a new copy: a late
    /// [`Self::note_refused`] must not reach the note of another process. A later message that is noted stays noted,
    /// because it is read again after this one.
    pub(super) async fn note_accepted(&self, key: &str, by: u64) -> anyhow::Result<StoredNote> {
        let subjects = self.subjects().await?;
        let subject = subjects.taken_in(key);
        let headers = TakenInNote { by, state: NoteState::Accepted }.headers();
        if let Some(stored) = in_time(self.put(subject.clone(), headers.clone(), Bytes::new())).await? {
            return Ok(StoredNote::Own(stored));
        }
        let changed = || format!("another process has changed the note of {key} meanwhile");
        let known = self.stored_last(&subjects, &subject).await?.with_context(changed)?;
        let note = TakenInNote::read(Some(&known.headers));
        if note.is_some_and(|note| note.by > by) {
            return Ok(StoredNote::OfOther);
        }
        let stored = match self.put_over(known.sequence, subject, headers, Bytes::new()).await {
            // A full stream has no room for another copy.
            Err(error) if is_refused(&error) && note.is_some_and(|note| note.accepts(by)) => {
                return Ok(StoredNote::OfOther);
            }
            stored => stored?.with_context(changed)?,
        };
        self.delete_before(&subjects, &subjects.taken_in(key), stored).await?;
        Ok(StoredNote::Own(stored))
    }

    /// Changes a note of this process: the message at sequence `by` did not become the order. Its dead letter must be
    /// stored before that.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(super) async fn note_refused(&self, key: &str, by: u64, own: StoredNote) -> anyhow::Result<()> {
        let StoredNote::Own(sequence) = own else { return Ok(()) };
        let subjects = self.subjects().await?;
        let headers = TakenInNote { by, state: NoteState::Refused }.headers();
        let subject = subjects.taken_in(key);
        match self.put_over(sequence, subject.clone(), headers, Bytes::new()).await? {
            Some(stored) => self.delete_before(&subjects, &subject, stored).await,
            // Another process has noted something since.
            None => Ok(()),
        }
    }

    /// Notes that the row of that key is from elsewhere, unless a message is noted; with the sequence of the replay that
    /// was skipped for that, which replaces an earlier one.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn note_key_taken(&self, key: &str, replay: Option<u64>) -> anyhow::Result<()> {
        let subjects = self.subjects().await?;
        let Some(by) = Key::sequence_of(key) else { return Ok(()) };
        let mut headers = TakenInNote { by, state: NoteState::KeyTaken }.headers();
        if let Some(replay) = replay {
            headers.insert(header::SKIPPED_REPLAY, replay.to_string().as_str());
        }
        let subject = subjects.taken_in(key);
        let is_new = in_time(self.put(subject.clone(), headers.clone(), Bytes::new())).await?.is_some();
        if is_new || replay.is_none() {
            return Ok(());
        }
        let Some(known) = self.stored_last(&subjects, &subject).await? else { return Ok(()) };
        let is_of_row =
            TakenInNote::read(Some(&known.headers)).is_some_and(|note| note.state == NoteState::KeyTaken);
        if !is_of_row || skipped_replay(&known.headers) >= replay {
            return Ok(());
        }
        match self.put_over(known.sequence, subject.clone(), headers, Bytes::new()).await? {
            Some(stored) => self.delete_before(&subjects, &subject, stored).await,
            // Another process has noted something since.
            None => Ok(()),
        }
    }

    /// Notes that the dead letter of that key was dropped.
    pub(super) async fn note_dropped(&self, key: &str) -> anyhow::Result<()> {
        let subject = self.subjects().await?.dropped(key);
        in_time(self.put(subject, once(), Bytes::new())).await.map(drop)
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
                if subject == subjects.taken_in(key) {
                    // Beside a dead letter, a killed process may have left it, and the next writer removes that.
                    let by = TakenInNote::read(Some(&note.headers)).map(|note| note.by);
                    if !has_left(by) || self.copy(key).await?.is_some() {
                        continue;
                    }
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

/// The sequence of the replay that was skipped because the row of its key is from elsewhere, in the note of that row.
fn skipped_replay(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::SKIPPED_REPLAY)?.as_str().parse().ok()
}

/// Asks until the server answers; `what`, after "can't", says in the log what failed.
pub(crate) async fn until_answered<T, A: Future<Output = anyhow::Result<T>>>(
    what: &str,
    ask: impl Fn() -> A,
) -> T {
    let mut backoff = Backoff::default();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "can't {what}; retrying"),
        }
        backoff.wait().await;
    }
}
