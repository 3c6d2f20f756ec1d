//! The cost of one order and the limits of one server, each with its source; all other figures follow from them.
//! "Bench" is `cargo xtask bench` on 2 cores of a shared virtual machine, with orders of 1,382 B of JSON.

/// JSON size of the benches' orders, for which the costs below hold. All byte figures are proportional to it.
pub(super) const ORDER_BYTES: f64 = 1382.0;

/// CPU in µs to ingest an order: of the writer, of PostgreSQL, and of NATS to deliver it. Bench `scale`, one process:
/// the mean of 3 thousand, 30 thousand (twice), 300 thousand and 1.5 million rows.
pub(super) const TAKE_US: [f64; 3] = [8.7, 6.9, 4.0];

/// CPU in µs for each further process that reads an order: its own, PostgreSQL's and NATS's. Bench `scale`: a third of
/// the additional CPU of four processes.
pub(super) const FOLLOW_US: [f64; 3] = [7.7, 0.8, 3.7];

/// CPU in µs of NATS to store an order and acknowledge it, on each server that keeps it. Assumed from 76,000 per second
/// with one client, including the client's share.
pub(super) const PUBLISH_US: f64 = 10.0;

/// Orders per second that one process ingested, on two cores shared with both servers. Bench `backlog`.
pub(super) const PROCESS_RATE: f64 = 72_000.0;

/// Orders per second of one stream, which one thread writes. JetStream publish, 1 kB, one client.
pub(super) const STREAM_RATE: f64 = 76_000.0;

/// Rows per second of a fill, on two cores. Bench `start`.
pub(super) const FILL_RATE: f64 = 330_000.0;

/// Bytes of a row in the table and its index, and in the WAL. Bench `parallel-copy`.
pub(super) const ROW_BYTES: f64 = 1685.0;
pub(super) const LOG_BYTES: f64 = 1594.0;

/// Memory of an order in bytes, with its body and with an evicted body. Bench `memory`; OPERATIONS.md.
pub(super) const MEMORY_BYTES: f64 = 905.0;
pub(super) const INDEX_BYTES: f64 = 115.0;

/// Bytes of a message in a stream besides its payload.
pub(super) const MESSAGE_BYTES: f64 = 70.0;

/// Messages that the service keeps in a stream that it created.
pub(super) const KEPT: f64 = 100_000.0;

/// Sequential write rate of a server's disk in MB/s. Assumed: a cloud NVMe; measure yours.
pub(super) const DISK_MB: f64 = 500.0;
