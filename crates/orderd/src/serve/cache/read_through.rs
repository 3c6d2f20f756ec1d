//! A look-up that memory can't answer asks PostgreSQL: many waiting readers in one query, one query at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::Postgres;
use crate::metrics::Metrics;
use crate::postgres::{self, describe};

/// How many readers may wait, and how many are answered by one query.
const WAITING: usize = 4096;
const TOGETHER: usize = 512;

/// How long a reader waits before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A row of the table, if there is one; its data may be null.
pub(crate) type Row = Option<Option<Vec<u8>>>;

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
    /// Starts the task that asks; it ends when the last handle is dropped.
    pub(crate) fn start(settings: Postgres, metrics: Arc<Metrics>) -> Self {
        let (questions, asked) = mpsc::channel(WAITING);
        tokio::spawn(answer(asked, settings));
        Self { questions, metrics }
    }

    /// The row of that id.
    pub(crate) async fn row(&self, id: &str) -> Result<Row, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let asked = self.questions.try_send(Question { id: id.to_owned(), answer });
        let row = match asked {
            Ok(()) => tokio::time::timeout(PATIENCE, answered).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        let label = match &row {
            Some(Some(_)) => "found",
            Some(None) => "not_found",
            None => "unanswered",
        };
        self.metrics.read_through.with_label_values(&[label]).inc();
        row.ok_or(Unanswered)
    }
}

async fn answer(mut asked: mpsc::Receiver<Question>, settings: Postgres) {
    let mut connection = None;
    let mut questions = Vec::new();
    while asked.recv_many(&mut questions, TOGETHER).await > 0 {
        questions.retain(|question: &Question| !question.answer.is_closed());
        let ids: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
        let rows = postgres::rows(&mut connection, &settings, &ids);
        let rows = tokio::time::timeout(PATIENCE, rows).await;
        match rows {
            Ok(Ok(rows)) => {
                for question in questions.drain(..) {
                    // A reader that is gone doesn't want it any more.
                    drop(question.answer.send(rows.get(&question.id).cloned()));
                }
            }
            failed => {
                connection = None;
                questions.clear();
                if let Ok(Err(error)) = failed {
                    tracing::debug!(error = describe(&error), "can't read orders through");
                }
            }
        }
    }
}
