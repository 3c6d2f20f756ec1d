//! What one order costs, and what one server can bear: the figures that all others follow from, each with its
//! source. "Bench" is `cargo xtask bench` on 2 cores of a shared virtual machine, orders of 1,382 B of JSON.

/// The JSON of an order of the benches, which the costs below are for. Bytes of all kinds grow with it.
pub(super) const ORDER_BYTES: f64 = 1382.0;

/// CPU in µs to take in an order: of the process that takes it, of PostgreSQL, and of NATS to deliver it. Bench
/// `scale`, one process: the mean of 3 thousand, 30 thousand (twice), 300 thousand and 1.5 million rows.
pub(super) const TAKE_US: [f64; 3] = [8.7, 6.9, 4.0];

/// CPU in µs for each further process to read an order that another one wrote: its own, PostgreSQL's and NATS's.
/// Bench `scale`: a third of what four processes took above one.
pub(super) const FOLLOW_US: [f64; 3] = [7.7, 0.8, 3.7];

/// CPU in µs of NATS to store an order, with an acknowledgement to its publisher, on each server that keeps it.
/// Assumed from 76,000 a second by one client, of which the client has a part.
pub(super) const PUBLISH_US: f64 = 10.0;

/// Orders a second that one process has taken in, on two cores that it shared with both servers. Bench `backlog`.
pub(super) const PROCESS_RATE: f64 = 72_000.0;

/// Orders a second that one stream takes: a stream is written by one thread. JetStream publish, 1 kB, one client.
pub(super) const STREAM_RATE: f64 = 76_000.0;

/// Rows a second that a start reads from the table, on two cores. Bench `start`.
pub(super) const FILL_RATE: f64 = 330_000.0;

/// Bytes of a row in the table and its index, and in the transaction log. Bench `parallel-copy`.
pub(super) const ROW_BYTES: f64 = 1685.0;
pub(super) const LOG_BYTES: f64 = 1594.0;

/// Bytes in a process for an order with its body, and where the body is evicted. Bench `memory`; OPERATIONS.md.
pub(super) const MEMORY_BYTES: f64 = 905.0;
pub(super) const INDEX_BYTES: f64 = 115.0;

/// Bytes that a message takes beside its payload in a stream.
pub(super) const MESSAGE_BYTES: f64 = 70.0;

/// Messages that the service leaves in a stream that it made when all is well.
pub(super) const KEPT: f64 = 100_000.0;

/// MB a second that a server's disk writes in sequence. Assumed: an NVMe of the cloud; measure yours.
pub(super) const DISK_MB: f64 = 500.0;
