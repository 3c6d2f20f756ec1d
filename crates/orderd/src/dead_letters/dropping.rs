//! How a dead letter is dropped, by a command or over HTTP.

use super::notes::NoteState;
use super::removal::StoredCopy;
use super::store::{DeadLetterStore, STORE_TIMEOUT, is_refused};
use super::subjects::DeadLetterSubjects;

/// How often the table may say something else than before, while one dead letter is dropped.
const MAX_CHANGES: usize = 5;

/// The table of orders, for a dead letter that is to be dropped.
pub(crate) trait OrderTable: Sync {
    /// Whether the table has a row with that key; `None`: it can't be asked now.
    fn has_row(&self, key: &str) -> impl Future<Output = Option<bool>> + Send;
}

/// Whether the note about a drop is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropNote {
    Stored,
    /// The stream of dead letters is full.
    NoRoom,
}

impl DeadLetterStore {
    /// Deletes a dead letter permanently: a note stays, so that a message which is read again does not bring it back. If
    /// the table has a row with its key, the note says that, and the row comes back from the message if the table goes
    /// back.
    ///
    /// Meanwhile a replay may be committed, or the table may go back. So the table is asked again after the note; a writer
    /// that commits a replay later removes the note of the drop. The copy of the dead letter that is removed is looked up
    /// between note and question: a process that stores a copy after that finds the note, and removes its copy, unless the
    /// note is gone because the table has the row.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn discard(&self, key: &str, table: &impl OrderTable) -> anyhow::Result<DropNote> {
        let subjects = self.subjects().await?;
        let asked = table.has_row(key).await;
        // A table that did not answer is not waited for again.
        let table = asked.map(|_| table);
        let mut has_row = self.has_row(&subjects, key, asked).await?;
        for _ in 0..MAX_CHANGES {
            let mut noted = self.note_drop(key, has_row).await;
            if noted.as_ref().is_err_and(is_refused) {
                // A stream that is full has room for the note then, unless a waiting dead letter takes it.
                let copy = self.copy(key).await?;
                self.remove_copy(&subjects, key, copy).await?;
                noted = self.note_drop(key, has_row).await;
            }
            match noted {
                Err(error) if is_refused(&error) => return Ok(DropNote::NoRoom),
                noted => noted?,
            }
            let copy = self.copy(key).await?;
            let asked = match table {
                Some(table) => table.has_row(key).await,
                None => None,
            };
            let found = self.has_row(&subjects, key, asked).await?;
            if found == has_row {
                self.remove_copy(&subjects, key, copy).await?;
                return Ok(DropNote::Stored);
            }
            has_row = found;
        }
        anyhow::bail!(
            "the row with the key {key} comes and goes: drop the dead letter again when the table is quiet"
        )
    }

    /// Notes that the dead letter of that key is dropped, or that its row stays.
    async fn note_drop(&self, key: &str, has_row: bool) -> anyhow::Result<()> {
        if !has_row {
            return self.note_dropped(key).await;
        }
        self.note_key_taken(key, None).await?;
        self.forget_drop(key).await
    }

    async fn remove_copy(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
        copy: Option<StoredCopy>,
    ) -> anyhow::Result<()> {
        match copy {
            Some(copy) => self.remove_copies(subjects, key, copy).await,
            None => Ok(()),
        }
    }

    /// Whether the table has a row with that key. Where it did not answer, the notes decide.
    async fn has_row(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
        asked: Option<bool>,
    ) -> anyhow::Result<bool> {
        match asked {
            Some(has_row) => Ok(has_row),
            None => self.has_noted_row(subjects, key).await,
        }
    }

    /// Whether a note says that the table has a row with that key.
    async fn has_noted_row(&self, subjects: &DeadLetterSubjects, key: &str) -> anyhow::Result<bool> {
        let note = self.taken_in(subjects, key).await?;
        Ok(note.is_some_and(|note| note.state != NoteState::Refused))
    }

    /// Removes the note that the dead letter of that key was dropped: its row is in the table.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(super) async fn forget_drop(&self, key: &str) -> anyhow::Result<()> {
        let subjects = self.subjects().await?;
        self.delete_within(STORE_TIMEOUT, &[subjects.dropped(key)]).await.map(drop)
    }
}
