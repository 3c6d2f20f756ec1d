//! Refused messages -> dead letters, stored by the writer before the position passes them.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::writer::Writer;
use crate::backoff::Backoff;
use crate::dead_letters::store::DeadLetterStore;
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::pipeline_chunks::{Orders, RefusedMessage};
use crate::traceparent::TraceParent;

/// Maximum number of dead letters in flight.
const IN_FLIGHT: usize = 64;

/// Stores dead letters.
#[derive(Clone)]
pub(super) struct DeadLetterWriter {
    store: Arc<DeadLetterStore>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// Keys of erased orders, which leave no dead letters either.
    erased: watch::Receiver<HashSet<String>>,
    in_flight: Arc<Semaphore>,
}

/// The task that stores the dead letters of one chunk. Dropping this stops it.
pub(super) struct StoringDeadLetters(AbortOnDropHandle<NewDeadLetters>);

/// Dead letters that were stored now, and not before by a process that may have answered their publishers.
pub(super) struct NewDeadLetters {
    orders: Arc<Orders>,
    /// Indexes of refused messages.
    new: Vec<usize>,
}

impl StoringDeadLetters {
    /// Waits until all of them are stored, without a time limit. `None` if the runtime is shutting down.
    pub(super) async fn stored(self) -> Option<NewDeadLetters> {
        match self.0.await {
            Ok(stored) => Some(stored),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => None,
            },
        }
    }
}

impl NewDeadLetters {
    pub(super) fn iter(&self) -> impl Iterator<Item = &RefusedMessage> {
        self.new.iter().map(|&index| &self.orders.refused[index])
    }
}

impl DeadLetterWriter {
    pub(super) fn new(deps: &Writer, erased: watch::Receiver<HashSet<String>>) -> Self {
        Self {
            store: deps.dead_letters.clone(),
            health: deps.health.clone(),
            metrics: deps.metrics.clone(),
            erased,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
        }
    }

    /// Begins to store the dead letters of a chunk; `None` if it has none.
    pub(super) fn begin(&self, orders: &Arc<Orders>) -> Option<StoringDeadLetters> {
        if orders.refused.is_empty() {
            return None;
        }
        let (writer, orders) = (self.clone(), orders.clone());
        let storing = tokio::spawn(async move {
            let (writer, letters) = (&writer, &orders.refused);
            let stored = stream::iter(0..letters.len())
                .map(|index| async move { writer.store(&letters[index]).await.then_some(index) });
            let new = stored.buffer_unordered(IN_FLIGHT).filter_map(std::future::ready).collect().await;
            NewDeadLetters { orders, new }
        });
        Some(StoringDeadLetters(AbortOnDropHandle::new(storing)))
    }

    /// Stores one, without a time limit. Returns whether its publisher is to be answered, once the position has passed it:
    /// until then, another writer with another model may accept it.
    pub(super) async fn store(&self, letter: &RefusedMessage) -> bool {
        let RefusedMessage { message, refusal } = letter;
        let key = message.key.as_str();
        if self.erased.borrow().contains(key) {
            return false;
        }
        let trace_id = TraceParent::of_message(message.headers.as_ref()).map(|parent| parent.trace_id());
        let mut backoff = Backoff::default();
        // Shows the intake as down; dropped with this task.
        let mut down = None;
        let is_new = loop {
            let error = match self.publish(letter).await {
                Ok(is_new) => break is_new,
                Err(error) => format!("{error:#}"),
            };
            // The position must not pass it, nor anything after it.
            let reason = format!("can't store a dead letter: {error}");
            down.get_or_insert_with(|| self.health.hold_down(Part::Intake, reason.clone())).explain(reason);
            tracing::warn!(key, error, trace_id, "can't store a dead letter; retrying");
            backoff.wait().await;
        };
        let has_failed = down.take().is_some();
        // If the dead letter existed already, this message is being reread after a failure, and was counted and
        // reported before; except for a replay, and for a letter that a failed attempt may have stored.
        if !is_new && !has_failed && !message.replayed {
            return false;
        }
        let reason = refusal.reason.as_str();
        self.metrics.errors.inc();
        self.metrics.dead_letters.with_label_values(&[reason]).inc();
        tracing::warn!(
            key,
            subject = message.subject.as_str(),
            sequence = message.position.sequence,
            reason,
            place = refusal.path.as_deref().unwrap_or("$"),
            trace_id,
            "message refused, kept as a dead letter"
        );
        true
    }

    async fn publish(&self, letter: &RefusedMessage) -> anyhow::Result<bool> {
        let _slot = self.in_flight.acquire().await?;
        self.store.publish(&letter.as_dead_letter()).await
    }
}
