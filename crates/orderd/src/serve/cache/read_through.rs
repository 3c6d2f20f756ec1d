//! A look-up that memory can't answer asks PostgreSQL: many waiting readers in one query, one query at a time.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, future};
use order::{Body, RowReader};
use tokio::sync::{mpsc, oneshot};

use super::Cache;
use crate::config::Postgres;
use crate::metrics::Metrics;
use crate::postgres::{self, LookUp, describe};

/// How many readers may wait, and how many are answered by one query.
const WAITING: usize = 4096;
const TOGETHER: usize = 512;

/// How long a reader waits before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the table has under an id.
#[derive(Clone)]
pub(crate) enum Row {
    Order(Body),
    /// A row that is no order, or null.
    Undecodable,
    NotThere,
}

impl Row {
    fn order(&self) -> Option<&Body> {
        if let Self::Order(body) = self { Some(body) } else { None }
    }
}

/// PostgreSQL can't be asked now.
#[derive(Debug)]
pub(crate) struct Unanswered;

struct Question {
    id: String,
    answer: oneshot::Sender<Row>,
}

/// Asks for rows by their ids.
#[derive(Clone)]
pub(crate) struct ReadThrough {
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
}

impl ReadThrough {
    /// Starts the task that asks; it ends when the last handle is dropped. Orders that memory knows and has no
    /// room for are put back into it.
    pub(crate) fn start(settings: Postgres, cache: Arc<Cache>, metrics: Arc<Metrics>) -> Self {
        let (questions, mut asked) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            // Questions that were being answered get no answer; the next ones do.
            while AssertUnwindSafe(answer(&mut asked, &settings, &cache)).catch_unwind().await.is_err() {
                tracing::error!("reading through has panicked, and begins again");
            }
        });
        Self { questions, metrics }
    }

    /// The row of an order that is asked for.
    pub(crate) async fn row(&self, id: &str) -> Result<Row, Unanswered> {
        let row = self.ask(id).await;
        let label = match &row {
            Ok(Row::Order(_) | Row::Undecodable) => "found",
            Ok(Row::NotThere) => "not_found",
            Err(Unanswered) => "unanswered",
        };
        self.metrics.read_through.with_label_values(&[label]).inc();
        row
    }

    /// The rows of these ids.
    pub(super) async fn rows(&self, ids: impl Iterator<Item = &str>) -> Result<Vec<Row>, Unanswered> {
        future::try_join_all(ids.map(|id| self.ask(id))).await
    }

    async fn ask(&self, id: &str) -> Result<Row, Unanswered> {
        // No row of PostgreSQL has such an id, and it would refuse the others that are asked for with it.
        if id.contains('\0') {
            return Ok(Row::NotThere);
        }
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.try_send(Question { id: id.to_owned(), answer });
        asked.map_err(|_| Unanswered)?;
        tokio::time::timeout(PATIENCE, answered).await.ok().and_then(Result::ok).ok_or(Unanswered)
    }
}

async fn answer(asked: &mut mpsc::Receiver<Question>, settings: &Postgres, cache: &Cache) {
    // At once: while memory fills, many ask, and PostgreSQL has others to serve. Tried again where it fails.
    let opened = tokio::time::timeout(PATIENCE, LookUp::open(settings)).await;
    let mut look_up = opened.ok().and_then(Result::ok);
    let mut questions = Vec::new();
    let mut reader = RowReader::new(cache.layouts.clone());
    while asked.recv_many(&mut questions, TOGETHER).await > 0 {
        questions.retain(|question: &Question| !question.answer.is_closed());
        cache.is_awaited.store(true, Ordering::Relaxed);
        let ids: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
        let rows = postgres::rows(&mut look_up, settings, &ids);
        let rows = tokio::time::timeout(PATIENCE, rows).await;
        match rows {
            Ok(Ok(rows)) => {
                let mut read = |(id, data): (String, Option<Vec<u8>>)| {
                    let row = decoded(&mut reader, &id, data.as_deref());
                    (id, row)
                };
                let rows: HashMap<String, Row> = rows.into_iter().map(&mut read).collect();
                cache.put_back(&rows.values().filter_map(Row::order).cloned().collect::<Vec<_>>());
                for question in questions.drain(..) {
                    let row = rows.get(&question.id).cloned().unwrap_or(Row::NotThere);
                    // A reader that is gone doesn't want it any more.
                    drop(question.answer.send(row));
                }
            }
            failed => {
                look_up = None;
                questions.clear();
                if let Ok(Err(error)) = failed {
                    tracing::debug!(error = describe(&error), "can't read orders through");
                }
            }
        }
        cache.is_awaited.store(!asked.is_empty(), Ordering::Relaxed);
    }
}

fn decoded(reader: &mut RowReader, id: &str, data: Option<&[u8]>) -> Row {
    match data.map(|data| reader.read(id, data)) {
        Some(Ok(body)) => Row::Order(body),
        Some(Err(error)) => {
            tracing::debug!(id, %error, "row can't be decoded");
            Row::Undecodable
        }
        None => Row::Undecodable,
    }
}
