//! The metrics of `/metrics`: those of the first service under their exact names, and `orderd_*`.

mod process;

use std::sync::Arc;

use order::Reason;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use self::process::ProcessMetrics;

/// All that is counted. One for each running service, so that several can run in one process.
pub(crate) struct Metrics {
    registry: Registry,
    /// `myapp_orders_handled_total`
    pub(crate) handled: IntCounter,
    /// `myapp_orders_write_db`
    pub(crate) written: IntCounter,
    /// `myapp_orders_read_db`
    pub(crate) filled: IntCounter,
    /// `myapp_orders_errors`
    pub(crate) errors: IntCounter,
    /// `myapp_orders_inmemcache`
    pub(crate) in_memory: IntGauge,
    /// Messages or orders that wait in each channel of the pipeline.
    pub(crate) depth: IntGaugeVec,
    /// Orders in one transaction.
    pub(crate) batch: Histogram,
    /// Seconds from a batch's first statement to its commit.
    pub(crate) commit: Histogram,
    /// Seconds from the stream's timestamp to the commit.
    pub(crate) latency: Histogram,
    /// Dead letters stored, by reason.
    pub(crate) dead_letters: IntCounterVec,
    /// Dead letters of this installation, each counted once.
    pub(crate) dead_letters_waiting: IntGauge,
    pub(crate) receipts_ignored: IntCounter,
    /// Empty messages.
    pub(crate) empty: IntCounter,
    /// Messages with the key of a dead letter that never was.
    pub(crate) foreign_keys: IntCounter,
    /// Members that the model lacks.
    pub(crate) unknown_members: IntCounter,
    /// Rows of the table that can't be decoded, as of the last fill.
    pub(crate) undecodable: IntGauge,
    /// The sequence up to which the table has everything.
    pub(crate) position: IntGauge,
    /// Messages of the stream after that.
    pub(crate) lag: IntGauge,
    /// 1 where this process is the writer.
    pub(crate) writes: IntGauge,
    /// Messages that left the stream before they were read.
    pub(crate) messages_lost: IntCounter,
    /// Rows that PostgreSQL accepted and the table does not have.
    pub(crate) rows_not_stored: IntCounter,
    /// Rows that were older than `KEEP`.
    pub(crate) expired: IntCounter,
    /// Partitions that held nothing but such rows, and were dropped.
    pub(crate) expired_partitions: IntCounter,
    /// Dead letters that were older than `KEEP`.
    pub(crate) expired_dead_letters: IntCounter,
    /// Number of generations after the first, begun because the table or the stream went back.
    pub(crate) restarts: IntCounter,
    /// 1 for an active warning, by kind.
    pub(crate) warnings: IntGaugeVec,
    /// By how many seconds the clock of NATS is ahead, at least, as the last batch shows it.
    pub(crate) clock_skew: Gauge,
    /// 1 where a part is up: nats, postgres, intake, fill.
    pub(crate) up: IntGaugeVec,
    /// Look-ups that memory could not answer, by PostgreSQL's answer.
    pub(crate) read_through: IntCounterVec,
    /// Bytes that orders take in memory, and may take; 0 where they have no bound.
    pub(crate) cache: IntGauge,
    pub(crate) cache_max: IntGauge,
    /// Orders whose bodies left memory for others.
    pub(crate) evictions: IntCounter,
    /// HTTP requests by route and status.
    pub(crate) requests: IntCounterVec,
    /// Seconds an HTTP request took, by route.
    pub(crate) request_seconds: HistogramVec,
    /// Bytes of memory that the process has, and may have.
    pub(crate) memory: IntGauge,
    pub(crate) memory_limit: IntGauge,
    /// When a certificate or credential of ours ends, by setting.
    pub(crate) certificate_end: IntGaugeVec,
    /// Size and limit of each of our streams; 0 for no limit.
    pub(crate) stream_bytes: IntGaugeVec,
    pub(crate) stream_max_bytes: IntGaugeVec,
    pub(crate) stream_messages: IntGaugeVec,
    pub(crate) stream_max_messages: IntGaugeVec,
    pub(crate) process: ProcessMetrics,
}

/// From 50 µs to 10 s, for whatever waits for a disk or a network.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
const BATCH: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];

impl Metrics {
    /// Sets the count from the position's row, which decreases only if the table went back or a person has reset it.
    pub(crate) fn set_messages_lost(&self, lost: u64) {
        if lost < self.messages_lost.get() {
            self.messages_lost.reset();
        }
        self.messages_lost.inc_by(lost - self.messages_lost.get());
    }

    /// All at zero.
    ///
    /// # Errors
    /// A name given twice, which the first start would show.
    pub(crate) fn new() -> prometheus::Result<Arc<Self>> {
        let r = Registry::new();
        Ok(Arc::new(Self {
            handled: counter(&r, "myapp_orders_handled_total", "The total number of messages received")?,
            written: counter(&r, "myapp_orders_write_db", "The number of rows that this process committed")?,
            filled: counter(
                &r,
                "myapp_orders_read_db",
                "The number of rows that this process read from the table",
            )?,
            errors: counter(
                &r,
                "myapp_orders_errors",
                "The number of messages refused and rows that can't be decoded",
            )?,
            in_memory: register(
                &r,
                IntGauge::new("myapp_orders_inmemcache", "The number of ids in memory, as in /mem_len"),
            )?,
            depth: gauges(
                &r,
                "orderd_channel_depth",
                "Chunks that wait in a channel of the pipeline",
                "channel",
            )?,
            batch: histogram(&r, "orderd_commit_orders", "Rows in one transaction", BATCH)?,
            commit: histogram(&r, "orderd_commit_seconds", "Seconds that a transaction took", SECONDS)?,
            latency: histogram(
                &r,
                "orderd_stream_to_commit_seconds",
                "Seconds from the stream's timestamp to the commit",
                SECONDS,
            )?,
            dead_letters: known(
                counters(&r, "orderd_dead_letters_total", "Dead letters stored", &["reason"])?,
                Reason::ALL.map(Reason::as_str),
            ),
            dead_letters_waiting: register(
                &r,
                IntGauge::new(
                    "orderd_dead_letters_waiting",
                    "Dead letters of this installation that are stored",
                ),
            )?,
            receipts_ignored: counter(
                &r,
                "orderd_receipts_ignored_total",
                "Receipts requested on an invalid subject, or on one outside RECEIPT_SUBJECTS",
            )?,
            foreign_keys: counter(
                &r,
                "orderd_foreign_keys_total",
                "Messages skipped because no dead letter has the key in their header Orderd-Key",
            )?,
            empty: counter(&r, "orderd_empty_messages_total", "Messages without a payload")?,
            unknown_members: counter(&r, "orderd_unknown_members_total", "Members that the model lacks")?,
            undecodable: register(
                &r,
                IntGauge::new("orderd_undecodable_rows", "Rows that the last fill could not decode"),
            )?,
            position: register(
                &r,
                IntGauge::new("orderd_position", "Stream sequence up to which the table is complete"),
            )?,
            lag: register(
                &r,
                IntGauge::new("orderd_position_lag", "Messages in the stream after the table's position"),
            )?,
            writes: register(&r, IntGauge::new("orderd_writer", "1 if this process writes to the table"))?,
            messages_lost: counter(
                &r,
                "orderd_lost_messages_total",
                "Messages that left the stream before they were read, as orderd_position counts them",
            )?,
            rows_not_stored: counter(
                &r,
                "orderd_rows_not_stored_total",
                "Rows that PostgreSQL accepted from this process, and that the table does not have",
            )?,
            expired: counter(
                &r,
                "orderd_expired_total",
                "Rows that this process deleted because they were older than KEEP",
            )?,
            expired_partitions: counter(
                &r,
                "orderd_expired_partitions_total",
                "Partitions that this process dropped because all their rows were older than KEEP",
            )?,
            expired_dead_letters: counter(
                &r,
                "orderd_expired_dead_letters_total",
                "Dead letters that this process deleted because they were older than KEEP",
            )?,
            restarts: counter(
                &r,
                "orderd_rereads_total",
                "Refills of memory because the table or the stream went back to an earlier state",
            )?,
            warnings: gauges(&r, "orderd_warning", "1 while the service has this warning", "what")?,
            clock_skew: register(
                &r,
                Gauge::new(
                    "orderd_clock_skew_seconds",
                    "Seconds by which the clock of NATS is ahead of this machine's, at least",
                ),
            )?,
            up: gauges(&r, "orderd_up", "1 if the component is up", "part")?,
            read_through: known(
                counters(
                    &r,
                    "orderd_read_through_total",
                    "Look-ups that memory could not answer",
                    &["answer"],
                )?,
                ["found", "not_found", "unanswered"],
            ),
            cache: register(
                &r,
                IntGauge::new(
                    "orderd_cache_bytes",
                    "Bytes that documents take in memory, if they have a limit",
                ),
            )?,
            cache_max: register(
                &r,
                IntGauge::new(
                    "orderd_cache_max_bytes",
                    "Limit of the bytes that documents take in memory, 0 for none",
                ),
            )?,
            evictions: counter(
                &r,
                "orderd_cache_evictions_total",
                "Documents whose bodies were evicted from memory",
            )?,
            requests: counters(&r, "orderd_http_requests_total", "HTTP requests", &["route", "status"])?,
            request_seconds: register(
                &r,
                HistogramVec::new(
                    HistogramOpts::new("orderd_http_request_seconds", "Seconds a request took")
                        .buckets(SECONDS.to_vec()),
                    &["route"],
                ),
            )?,
            memory: register(
                &r,
                IntGauge::new("orderd_memory_bytes", "Bytes of memory that the process has"),
            )?,
            memory_limit: register(
                &r,
                IntGauge::new("orderd_memory_limit_bytes", "Bytes of memory that the process may have"),
            )?,
            certificate_end: gauges(
                &r,
                "orderd_certificate_expiry_timestamp_seconds",
                "When the certificate or credential of a setting expires, in seconds of Unix time",
                "setting",
            )?,
            stream_bytes: gauges(&r, "orderd_stream_bytes", "Bytes that a stream holds", "stream")?,
            stream_max_bytes: gauges(
                &r,
                "orderd_stream_max_bytes",
                "Bytes that a stream may hold, 0 for no limit",
                "stream",
            )?,
            stream_messages: gauges(&r, "orderd_stream_messages", "Messages that a stream holds", "stream")?,
            stream_max_messages: gauges(
                &r,
                "orderd_stream_max_messages",
                "Messages that a stream may hold, 0 for no limit",
                "stream",
            )?,
            process: ProcessMetrics::new(&r)?,
            registry: r,
        }))
    }

    /// All of it in Prometheus' text format.
    ///
    /// # Errors
    /// What can't be written as text.
    pub(crate) fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    register(registry, IntCounter::new(name, help))
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

/// Creates the counters of these labels at the start: a counter that first appears at 1 shows no increase.
fn known<const N: usize>(counters: IntCounterVec, labels: [&str; N]) -> IntCounterVec {
    for label in labels {
        counters.with_label_values(&[label]);
    }
    counters
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
    gauges_of(registry, name, help, &[label])
}

fn gauges_of(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}
