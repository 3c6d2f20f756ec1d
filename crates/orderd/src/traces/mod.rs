//! Spans of messages and requests, and their way to a collector. Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//!
//! No span travels with a message. A chunk has the times at which the stages had it; once a transaction is committed,
//! the spans of its messages are made of those times and of the messages' own headers. A commit so never waits for the
//! collector: what is beyond the queue is dropped.

mod collector;
mod messages;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};

use self::collector::Collector;
use crate::config::{self, ConfigError, Settings};
use crate::subject;
use crate::traceparent::TraceParent;

/// Spans that wait for the collector, at most: each has about a kilobyte.
const MAX_QUEUED: usize = 8192;

/// Interval of exports, and spans per export.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
const MAX_BATCH: usize = 512;

/// Time limit of a batch, including retries.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for the remaining spans at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes spans and sends them.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// The topic of the orders.
    topic: String,
    is_wild: bool,
    /// Whether requests that nobody else traces may be recorded.
    records_roots: bool,
}

impl Traces {
    /// Starts tracing, if a collector is set.
    ///
    /// # Errors
    /// Settings that the exporter does not accept.
    pub(crate) fn start(settings: &Settings) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(traces) = &settings.traces else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(traces.endpoint.to_string())
            .with_timeout(EXPORT_TIMEOUT)
            .with_http_client(Collector::new(traces.clone()))
            .build()
            .map_err(|error| ConfigError::new("OTEL_EXPORTER_OTLP_ENDPOINT", error))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let sampling = traces.sampling;
        let own = Sampler::TraceIdRatioBased(sampling.ratio);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(traces))
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build());
        let provider = if sampling.asks_parent {
            provider.with_sampler(Sampler::ParentBased(Box::new(own)))
        } else {
            provider.with_sampler(own)
        };
        let provider = provider.build();
        let topic = settings.nats.topic.clone();
        Ok(Some(Arc::new(Self {
            tracer: provider.tracer("orderd"),
            provider,
            is_wild: subject::is_wild(&topic),
            topic,
            records_roots: sampling.ratio > 0.0,
        })))
    }

    /// Sends the remaining spans, within a time limit.
    pub(crate) async fn finish(&self) {
        let provider = self.provider.clone();
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if !matches!(sent.await, Ok(Ok(()))) {
            tracing::debug!("the last spans are not sent");
        }
    }
}

/// The attributes of all spans.
fn resource(settings: &config::Traces) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let instance = format!("{}/{}", host.trim(), std::process::id());
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
    ];
    let given = settings.attributes.iter().cloned().map(|(name, value)| KeyValue::new(name, value));
    // Of one name, the last counts.
    Resource::builder_empty()
        .with_attributes(own)
        .with_attributes(given)
        .with_service_name(settings.service_name.clone())
        .build()
}

/// The remote parent of a span.
fn remote(parent: TraceParent) -> Context {
    let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (parent.trace_id.into(), parent.span_id.into());
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
}
