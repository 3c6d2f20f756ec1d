//! `/orders?…&full=true`: documents, streamed as they are read: `[{"id":…,"order":{…}},…]`.
//!
//! Each piece is rendered when the client has received the previous one, so that a list of any length needs memory for
//! only one piece and one order. A failure after the first piece breaks the connection, because a list that ended early
//! would look complete.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use cache::{Lookup, Matches, RowSource, Slot, StoredRow};
use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::http::response_budget::LARGE_BYTES;
use crate::http::routes::order::unavailable;
use crate::http::{App, json};

/// Extra capacity for the last order of a piece.
const PIECE_SLACK_BYTES: usize = 2048;

/// Number of evicted orders that are read from the table at once.
const MAX_ROWS: usize = 64;

/// Responds with the found documents. Documents removed meanwhile are omitted.
pub(crate) async fn respond(app: Arc<App>, found: Matches) -> Response {
    let mut documents = Documents {
        app,
        ids: found.ids.into_iter(),
        slots: found.slots.into_iter(),
        rows: VecDeque::new(),
        has_any: false,
        is_done: false,
        _room: None,
    };
    let mut first = Vec::with_capacity(LARGE_BYTES + PIECE_SLACK_BYTES);
    first.push(b'[');
    match documents.fill(&mut first).await {
        Ok(()) if documents.is_done => documents.app.large.json(first),
        Ok(()) => json(Body::from_stream(documents.after(first))),
        Err(Interrupted) => unavailable("503 PostgreSQL can't be reached now; memory doesn't have all of it"),
    }
}

/// A document is not available now.
#[derive(Debug, thiserror::Error)]
#[error("the rest of the documents can't be read now")]
struct Interrupted;

/// The documents still to be sent.
struct Documents {
    app: Arc<App>,
    ids: std::vec::IntoIter<String>,
    /// The slot of each of them.
    slots: std::vec::IntoIter<Slot>,
    /// Rows of the next ids whose bodies are evicted.
    rows: VecDeque<(String, StoredRow)>,
    has_any: bool,
    is_done: bool,
    /// The budget of the piece being sent, if it is large.
    _room: Option<OwnedSemaphorePermit>,
}

impl Documents {
    /// A stream of this piece and all further ones.
    fn after(self, first: Vec<u8>) -> impl Stream<Item = io::Result<Bytes>> {
        stream::try_unfold((self, Bytes::from(first)), async |(mut documents, mut left)| {
            if left.is_empty() {
                if documents.is_done {
                    return Ok(None);
                }
                left = documents.piece().await.map_err(io::Error::other)?.into();
            }
            let part = left.split_to(left.len().min(LARGE_BYTES + PIECE_SLACK_BYTES));
            Ok(Some((part, (documents, left))))
        })
    }

    async fn piece(&mut self) -> Result<Vec<u8>, Interrupted> {
        self._room = None;
        let mut piece = Vec::with_capacity(LARGE_BYTES + PIECE_SLACK_BYTES);
        self.fill(&mut piece).await?;
        self._room = self.app.large.wait(piece.len()).await.ok_or(Interrupted)?;
        Ok(piece)
    }

    /// Adds documents until the piece is full.
    async fn fill(&mut self, piece: &mut Vec<u8>) -> Result<(), Interrupted> {
        while piece.len() < LARGE_BYTES {
            let (Some(id), Some(slot)) = (self.ids.next(), self.slots.next()) else {
                piece.push(b']');
                self.is_done = true;
                break;
            };
            self.add(slot, &id, piece).await?;
        }
        Ok(())
    }

    async fn add(&mut self, slot: Slot, id: &str, piece: &mut Vec<u8>) -> Result<(), Interrupted> {
        let start = piece.len();
        piece.extend_from_slice(if self.has_any { b",{\"id\":" } else { b"{\"id\":" });
        // Writing to memory can't fail.
        drop(serde_json::to_writer(&mut *piece, id));
        piece.extend_from_slice(b",\"order\":");
        let is_there = match self.app.cache.write_json_at(slot, id, piece) {
            Ok(Lookup::Hit) => true,
            Ok(Lookup::Evicted) => self.add_from_table(id, piece).await?,
            Ok(Lookup::Miss) | Err(_) => false,
        };
        if is_there {
            piece.push(b'}');
            self.has_any = true;
        } else {
            piece.truncate(start);
        }
        Ok(())
    }

    async fn add_from_table(&mut self, id: &str, piece: &mut Vec<u8>) -> Result<bool, Interrupted> {
        match self.row(id).await? {
            StoredRow::Order(body) => Ok(self.app.layouts.write_json(&body, piece).is_ok()),
            StoredRow::Undecodable | StoredRow::NotThere => Ok(false),
            StoredRow::NotRead => Err(Interrupted),
        }
    }

    /// The row of an id, read together with those of the ids that follow.
    async fn row(&mut self, id: &str) -> Result<StoredRow, Interrupted> {
        while let Some((other, row)) = self.rows.pop_front() {
            if other == id {
                return Ok(row);
            }
        }
        let following = self.ids.as_slice().iter().map(String::as_str).take(MAX_ROWS);
        let evicted = following.filter(|id| self.app.cache.lookup(id) == Lookup::Evicted);
        let ids: Vec<&str> = std::iter::once(id).chain(evicted).collect();
        let rows = self.app.read_through.rows(&ids).await.map_err(|_| Interrupted)?;
        let mut rows = ids.into_iter().map(str::to_owned).zip(rows);
        let first = rows.next().ok_or(Interrupted)?.1;
        self.rows.extend(rows);
        Ok(first)
    }
}
