//! The resources for a rate and a number of orders, calculated from the costs.

use super::Options;
use super::costs::*;

/// A case and its resources.
pub(super) struct Need {
    pub(super) rate: f64,
    pub(super) orders: f64,
    /// Independent sets of stream, database and processes.
    pub(super) cells: f64,
    /// The first limit that fewer cells would exceed.
    pub(super) first: &'static str,
    /// Processes in each cell.
    pub(super) processes: f64,
    /// Total cores: of all processes, of PostgreSQL and of NATS.
    pub(super) cores: [f64; 3],
    /// GB of memory of each process.
    pub(super) memory: f64,
    /// Seconds of a start, on two cores.
    pub(super) start: f64,
    /// GB of all tables, and MB/s of each WAL.
    pub(super) table: f64,
    pub(super) log: f64,
    /// GB of a stream on each of its servers after an outage of PostgreSQL, and MB/s onto each disk.
    pub(super) stream: f64,
    pub(super) stream_disk: f64,
    /// MB/s through the network interface of a stream's leader, in both directions together.
    pub(super) network: f64,
}

/// A limit of a cell, and its orders per second.
struct Wall {
    what: &'static str,
    rate: f64,
}

pub(super) fn need(options: &Options, rate: f64, orders: f64) -> Need {
    let size = options.order_bytes / ORDER_BYTES;
    let walls = walls(options, size);
    let lowest = walls.iter().min_by(|one, other| one.rate.total_cmp(&other.rate));
    let (what, bearable) = lowest.map_or(("", f64::INFINITY), |wall| (wall.what, wall.rate));
    let by_rate = (rate / bearable).ceil().max(1.0);
    let bytes = memory_bytes(options, size);
    let by_memory = (orders * bytes / (options.memory * 1e9)).ceil().max(1.0);
    let cells = by_rate.max(by_memory);
    let (rate_each, orders_each) = (rate / cells, orders / cells);
    let processes = options.replicas.max((rate_each / (PROCESS_RATE * options.busy)).ceil());
    let cpu = cpu(options, processes, size).map(|micros| rate * micros / 1e6 / options.busy);
    let message = options.order_bytes + MESSAGE_BYTES;
    let copies = options.nats_replicas;
    Need {
        rate,
        orders,
        cells,
        first: if by_memory > by_rate { "memory of a process" } else { what },
        processes,
        cores: cpu,
        memory: orders_each * bytes / 1e9,
        start: orders_each / FILL_RATE,
        table: orders * ROW_BYTES * size / 1e9,
        log: rate_each * LOG_BYTES * size / 1e6,
        stream: (KEPT + rate_each * options.outage * 60.0) * message / 1e9,
        stream_disk: rate_each * message / 1e6,
        // In from the publisher, out to each process, out to the other servers.
        network: rate_each * message * (1.0 + processes + (copies - 1.0)) / 1e6,
    }
}

fn memory_bytes(options: &Options, size: f64) -> f64 {
    match options.bounded {
        true => INDEX_BYTES,
        false => MEMORY_BYTES * size,
    }
}

/// CPU in µs per order in a cell with this number of processes: of all processes, of PostgreSQL and of NATS.
fn cpu(options: &Options, processes: f64, size: f64) -> [f64; 3] {
    let others = processes - 1.0;
    let [service, postgres, nats] = [0, 1, 2].map(|of| TAKE_US[of] + others * FOLLOW_US[of]);
    [service * size, postgres * size, (nats + PUBLISH_US * options.nats_replicas) * size]
}

/// The limits of a cell.
fn walls(options: &Options, size: f64) -> [Wall; 4] {
    let [_, postgres, _] = cpu(options, options.replicas, size);
    let bearable = |micros: f64| options.cores * options.busy * 1e6 / micros;
    [
        Wall { what: "one stream", rate: STREAM_RATE * options.busy },
        Wall { what: "PostgreSQL's cores", rate: bearable(postgres) },
        Wall {
            what: "PostgreSQL's transaction log",
            rate: DISK_MB * 1e6 * options.busy / (LOG_BYTES * size),
        },
        // Each process holds all orders, however many there are.
        Wall { what: "cores of a process", rate: bearable(TAKE_US[0].max(FOLLOW_US[0]) * size) },
    ]
}
