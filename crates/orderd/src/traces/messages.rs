//! The spans of a message: from its receipt to the commit of the position that passes it, with the times of decoding and of
//! the transaction in it. Only of messages whose publisher records the trace.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use super::{Traces, remote};
use crate::nats::intake_message::Message;
use crate::pipeline_chunks::{ChunkTimes, RefusedMessage};
use crate::traceparent::TraceParent;

impl Traces {
    /// The rows of these messages are in the table. The transaction that wrote them has taken so long.
    pub(crate) fn committed<'m>(
        &self,
        messages: impl ExactSizeIterator<Item = (&'m Message, Option<ChunkTimes>)>,
        elapsed: Duration,
    ) {
        let (now, rows) = (SystemTime::now(), messages.len());
        for (message, times) in messages {
            let Some((span, times)) = self.begin(message, times) else { continue };
            self.decode(&span, times);
            let begun = now.checked_sub(elapsed).unwrap_or(now);
            let attributes = [
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("db.operation.batch.size", rows as i64),
            ];
            let commit = SpanBuilder::from_name("commit").with_kind(SpanKind::Client);
            self.child(&span, commit.with_start_time(begun).with_attributes(attributes), now);
            span.span().end_with_timestamp(now);
        }
    }

    /// These messages are stored as dead letters, and the position has passed them.
    pub(crate) fn refused<'m>(
        &self,
        letters: impl Iterator<Item = (&'m RefusedMessage, Option<ChunkTimes>)>,
    ) {
        let now = SystemTime::now();
        for (RefusedMessage { message, refusal }, times) in letters {
            let Some((span, times)) = self.begin(message, times) else { continue };
            self.decode(&span, times);
            let reason = refusal.reason.as_str();
            span.span().set_attribute(KeyValue::new("error.type", reason));
            span.span().set_status(Status::error(reason));
            span.span().end_with_timestamp(now);
        }
    }

    /// Begins the span of a message, if it is traced.
    fn begin(&self, message: &Message, times: Option<ChunkTimes>) -> Option<(Context, ChunkTimes)> {
        let parent = TraceParent::of_message(message.headers.as_ref()).filter(|parent| parent.is_sampled)?;
        let (parent, times) = (remote(parent), times?);
        let mut attributes = vec![
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", message.subject.to_string()),
            KeyValue::new("messaging.message.id", message.key.as_str().to_owned()),
            KeyValue::new("messaging.message.body.size", message.payload.len() as i64),
            KeyValue::new("messaging.nats.stream.sequence", message.position.sequence.cast_signed()),
        ];
        if self.is_wild {
            attributes.push(KeyValue::new("messaging.destination.template", self.topic.clone()));
        }
        let span = SpanBuilder::from_name(format!("process {}", self.topic))
            .with_kind(SpanKind::Consumer)
            .with_start_time(times.received)
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(span, &parent);
        let context = parent.with_span(span);
        let is_recorded = context.span().is_recording();
        is_recorded.then_some((context, times))
    }

    fn decode(&self, parent: &Context, times: ChunkTimes) {
        self.child(parent, SpanBuilder::from_name("decode").with_start_time(times.decoding), times.decoded);
    }

    fn child(&self, parent: &Context, span: SpanBuilder, end: SystemTime) {
        self.tracer.build_with_context(span, parent).end_with_timestamp(end);
    }
}
