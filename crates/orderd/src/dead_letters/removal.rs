//! How the writer removes dead letters whose orders it has committed.
//!
//! A removal may come late: NATS was away, or the process was stopped, and the table has gone back since. By then a
//! process that refuses the message may rely on its dead letter. So the writer notes the message as the order of its key
//! and looks up the copy of the dead letter, both before it commits the row; a process that refuses the message later
//! finds the note and stores a new copy; and the removal leaves copies that were stored after the one that was looked up.

use async_nats::jetstream::message::StreamMessage;
use time::OffsetDateTime;

use super::notes::{StoredNote, until_answered};
use super::store::{DeadLetterStore, is_refused};
use super::subjects::DeadLetterSubjects;
use crate::backoff::Backoff;

/// A copy of a dead letter in its stream: its sequence there, and the time, because a stream that is recreated begins its
/// sequences again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredCopy {
    sequence: u64,
    time: OffsetDateTime,
}

impl StoredCopy {
    pub(super) fn of(message: &StreamMessage) -> Self {
        Self { sequence: message.sequence, time: message.time }
    }

    /// Whether that message was stored no later than this copy.
    fn covers(self, found: &StreamMessage) -> bool {
        found.sequence <= self.sequence && found.time <= self.time
    }
}

/// A dead letter whose order is about to be committed.
pub(crate) struct AcceptedLetter {
    pub(crate) key: String,
    /// The sequence of the message that becomes the order.
    by: u64,
    /// The copy that is removed once the order is committed; `None`: there was none, or it stays.
    copy: Option<StoredCopy>,
    note: StoredNote,
}

impl AcceptedLetter {
    /// Whether the note is stored. A full stream has no room for it.
    pub(crate) fn is_noted(&self) -> bool {
        self.note != StoredNote::Missing
    }
}

impl DeadLetterStore {
    /// Notes that the message at sequence `by` becomes the order of that dead letter, before it does: of several with
    /// that key, a table that goes back takes the same one again. Waits as long as the server can't be reached.
    pub(crate) async fn accept(&self, key: &str, by: u64) -> AcceptedLetter {
        until_answered("store the note of an accepted dead letter", || self.accept_once(key, by)).await
    }

    async fn accept_once(&self, key: &str, by: u64) -> anyhow::Result<AcceptedLetter> {
        let note = match self.note_accepted(key, by).await {
            Err(error) if is_refused(&error) => {
                tracing::warn!(
                    key,
                    error = format!("{error:#}"),
                    "can't note which message becomes the document of a dead letter, which stays: make room in the stream of \
                     dead letters, and replay it again"
                );
                StoredNote::Missing
            }
            noted => noted?,
        };
        // Without the note, a process that refuses the message may rely on the copy.
        let copy = if note == StoredNote::Missing { None } else { self.copy(key).await? };
        Ok(AcceptedLetter { key: key.to_owned(), by, copy, note })
    }

    /// The copy of the dead letter that is there.
    ///
    /// # Errors
    /// The server can't be reached.
    pub(crate) async fn copy(&self, key: &str) -> anyhow::Result<Option<StoredCopy>> {
        let subjects = self.subjects().await?;
        let found = self.stored_last(&subjects, &subjects.dead_letter(key)).await?;
        Ok(found.as_ref().map(StoredCopy::of))
    }

    /// The order of a dead letter is in the table: the dead letter goes, and with it the note of a drop, which was begun
    /// before the table had the row, or had failed. Waits as long as the server can't be reached.
    pub(crate) async fn remove_accepted(&self, accepted: AcceptedLetter) {
        self.forget_drop_of_row(&accepted.key).await;
        if let Some(copy) = accepted.copy {
            self.remove(&accepted.key, copy).await;
        }
    }

    /// Removes the note that the dead letter of that key was dropped: its order is in the table. Waits as long as the
    /// server can't be reached.
    pub(crate) async fn forget_drop_of_row(&self, key: &str) {
        until_answered("remove the note of a drop", || async {
            match self.forget_drop(key).await {
                Err(error) if self.denies_deletion().await => {
                    tracing::error!(
                        key,
                        error = format!("{error:#}"),
                        "can't remove the note of a drop; it stays"
                    );
                    Ok(())
                }
                forgotten => forgotten,
            }
        })
        .await;
    }

    /// The message did not become the order: PostgreSQL refused its row. Its dead letter must be stored before this.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn withdraw(&self, accepted: &AcceptedLetter) -> anyhow::Result<()> {
        self.note_refused(&accepted.key, accepted.by, accepted.note).await
    }

    /// Removes that copy, and older ones. Waits as long as the server can't be reached.
    pub(crate) async fn remove(&self, key: &str, copy: StoredCopy) {
        let mut backoff = Backoff::default();
        let remove = async || self.remove_copies(&*self.subjects().await?, key, copy).await;
        while let Err(error) = remove().await {
            let error = format!("{error:#}");
            if self.denies_deletion().await {
                tracing::error!(key, error, "can't remove the dead letter of an accepted document; it stays");
                return;
            }
            tracing::warn!(key, error, "can't remove a dead letter; retrying");
            backoff.wait().await;
        }
    }

    pub(super) async fn remove_copies(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
        copy: StoredCopy,
    ) -> anyhow::Result<()> {
        // The first part first, because lists show only first parts. A second part is stored before its first part.
        for subject in [subjects.dead_letter(key), subjects.second_part(key)] {
            while let Some(found) = self.stored_first(subjects, &subject).await? {
                if !copy.covers(&found) {
                    break;
                }
                self.delete_message(subjects, found.sequence).await?;
            }
        }
        Ok(())
    }

    async fn denies_deletion(&self) -> bool {
        let Ok(subjects) = self.subjects().await else { return false };
        let info = self.info(&subjects).await;
        matches!(info, Ok(Some(info)) if info.config.deny_delete || info.config.sealed)
    }
}
