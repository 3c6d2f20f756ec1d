//! How a dead letter is dropped, by a command or over HTTP.

use super::notes::NoteState;
use super::store::{DeadLetterStore, STORE_TIMEOUT, is_refused};
use super::subjects::DeadLetterSubjects;

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
    /// the table has a row with its key, that row comes back from the message if the table goes back.
    ///
    /// # Errors
    /// The server can't be reached, or refuses.
    pub(crate) async fn discard(&self, key: &str, table: &impl OrderTable) -> anyhow::Result<DropNote> {
        let subjects = self.subjects().await?;
        let asked = table.has_row(key).await;
        // A table that did not answer is not waited for again.
        let table = asked.map(|_| table);
        let has_row = match asked {
            Some(has_row) => has_row,
            None => self.has_noted_row(&subjects, key).await?,
        };
        let noted = self.note_drop(&subjects, key, has_row, table).await;
        self.delete_copies(&subjects, key).await?;
        match noted {
            Err(error) if is_refused(&error) => {}
            noted => return noted.map(|()| DropNote::Stored),
        }
        // A stream that is full has room for the note now, unless a waiting dead letter has taken it.
        match self.note_drop(&subjects, key, has_row, table).await {
            Err(error) if is_refused(&error) => Ok(DropNote::NoRoom),
            noted => noted.map(|()| DropNote::Stored),
        }
    }

    /// Notes that the dead letter of that key is dropped, or that its row stays. Without a table, the notes decide.
    async fn note_drop(
        &self,
        subjects: &DeadLetterSubjects,
        key: &str,
        has_row: bool,
        table: Option<&impl OrderTable>,
    ) -> anyhow::Result<()> {
        if has_row {
            return self.note_key_taken(key).await;
        }
        self.note_dropped(key).await?;
        // A replay may have been committed since the table was asked. A writer that commits one later removes the note.
        let asked = match table {
            Some(table) => table.has_row(key).await,
            None => None,
        };
        let has_row = match asked {
            Some(has_row) => has_row,
            None => self.has_noted_row(subjects, key).await?,
        };
        if has_row {
            self.note_key_taken(key).await?;
            self.forget_drop(key).await?;
        }
        Ok(())
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
