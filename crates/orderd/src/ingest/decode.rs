//! msgdatachan -> orderschan: decodes JSON into orders. Refused messages travel with the orders, and become dead
//! letters.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache::Cache;
use order::{Order, Parser, Reason, Refusal, RowFormat, Unknown};
use tokio::sync::mpsc;

use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::nats::intake_message::Message;
use crate::orders_in_doubt::OrdersInDoubt;
use crate::pipeline_chunks::{Messages, Orders, RefusedMessage};

/// During a fill, each chunk waits at most this long for readers of orders that are not in memory yet.
const MAX_YIELD: Duration = Duration::from_millis(20);

/// What the stage needs.
pub(crate) struct Decode {
    pub(crate) parser: Parser,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) in_doubt: OrdersInDoubt,
}

impl Decode {
    /// Runs until `msgdatachan` closes.
    pub(crate) async fn run(
        mut self,
        mut msgdatachan: mpsc::Receiver<Messages>,
        orderschan: mpsc::Sender<Arc<Orders>>,
    ) -> anyhow::Result<()> {
        let mut logged = Unknown::default();
        while let Some(chunk) = msgdatachan.recv().await {
            let Messages { run, through, mut messages, skipped, gaps, mut times } = chunk;
            if !self.health.is_up(Part::Fill) {
                self.cache.yield_to_readers(MAX_YIELD).await;
            }
            if let Some(times) = &mut times {
                times.decoding = SystemTime::now();
            }
            self.parser.set_format(run.format);
            let unknown = self.parser.unknown().count;
            let (orders, refused) = self.parse(&mut messages);
            if let Some(times) = &mut times {
                times.decoded = SystemTime::now();
            }
            for letter in &refused {
                // The writer may have another model, and have accepted the message.
                self.in_doubt.add(letter.message.key.as_str(), letter.message.position.sequence);
            }
            // If the writer has another model, its result is in the table once the position has passed them.
            for message in messages.iter().filter(|message| !run.is_own_form(message.position.sequence)) {
                self.in_doubt.add(message.key.as_str(), message.position.sequence);
            }
            self.metrics.unknown_members.inc_by(self.parser.unknown().count - unknown);
            log_unknown(&self.parser, run.format, &mut logged);
            let orders = Orders { run, through, orders, messages, refused, skipped, gaps, times };
            if orderschan.send(Arc::new(orders)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn order(&mut self, message: &Message) -> Result<Order, Refusal> {
        if message.is_unreadable {
            return Err(unreadable());
        }
        self.parser.parse(&message.payload, message.key.as_str())
    }

    /// Splits a chunk into orders and refused messages. Only refused messages are moved, because messages are large.
    fn parse(&mut self, messages: &mut Vec<Message>) -> (Vec<Order>, Vec<RefusedMessage>) {
        let mut orders = Vec::with_capacity(messages.len());
        let mut refusals = Vec::new();
        let is_refused = |message: &mut Message| match self.order(message) {
            Ok(order) => {
                orders.push(order);
                false
            }
            Err(refusal) => {
                refusals.push(refusal);
                true
            }
        };
        let refused: Vec<_> = messages.extract_if(.., is_refused).collect();
        let dead =
            refused.into_iter().zip(refusals).map(|(message, refusal)| RefusedMessage { message, refusal });
        (orders, dead.collect())
    }
}

fn unreadable() -> Refusal {
    let detail = "the NATS client fails when this message is delivered".to_owned();
    Refusal { reason: Reason::UnreadableMessage, detail, path: None, offset: None }
}

/// Logs each name once, and once that there are too many to name. Names are part of models, not content.
fn log_unknown(parser: &Parser, format: RowFormat, logged: &mut Unknown) {
    let Unknown { names, has_more, .. } = parser.unknown();
    let is_kept = format.is_document();
    if names.len() > logged.names.len() {
        for name in names.difference(&logged.names) {
            tracing::warn!(
                member = name,
                is_kept,
                "unknown member ignored; is the model behind the publishers?"
            );
        }
        logged.names.clone_from(names);
    }
    if *has_more && !std::mem::replace(&mut logged.has_more, true) {
        let named = names.len();
        tracing::warn!(
            named,
            is_kept,
            "named the maximum number of unknown members; further ones are only counted"
        );
    }
}
