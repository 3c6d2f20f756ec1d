//! Requests at a fixed rate, independent of the responses: each is timed from the moment it was due, so that a stall of
//! the server counts for all requests due meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::http::Connection;
use crate::orders;

/// Threads, each with a connection and its share of the rate.
const THREADS: u32 = 32;

/// A running load.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<LoadResult>>,
}

/// The results of the requests.
#[derive(Default)]
pub(crate) struct LoadResult {
    /// Milliseconds from the moment each was due.
    pub(crate) latencies: Vec<f64>,
    /// Requests that were not answered with 200.
    pub(crate) failed: usize,
}

impl Load {
    /// Requests random orders from 0 to `ids` at a fixed rate per second, until it is stopped.
    pub(crate) fn start(addr: SocketAddr, ids: u64, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let threads = (0..THREADS).map(|number| {
            let stop = stop.clone();
            let first = begun + Duration::from_secs(1) * number / rate;
            std::thread::spawn(move || ask(addr, ids, first, Duration::from_secs(1) * THREADS / rate, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    pub(crate) fn finish(self) -> LoadResult {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = LoadResult::default();
        for seen in self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()) {
            all.latencies.extend(seen.latencies);
            all.failed += seen.failed;
        }
        all
    }
}

fn ask(addr: SocketAddr, ids: u64, first: Instant, every: Duration, stop: &AtomicBool) -> LoadResult {
    let mut rng = Rng::with_seed(every.as_nanos() as u64 ^ u64::from(first.elapsed().subsec_nanos()));
    let (mut seen, mut connection, mut due) = (LoadResult::default(), None, first);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let path = format!("/order/{}", orders::id(rng.u64(..ids)));
        if connection.is_none() {
            connection = Connection::open(addr).ok();
        }
        let answer = connection.as_mut().and_then(|connection: &mut Connection| connection.get(&path).ok());
        seen.latencies.push(due.elapsed().as_secs_f64() * 1e3);
        if !matches!(&answer, Some((200, _))) {
            seen.failed += 1;
        }
        if answer.is_none() {
            connection = None;
        }
        due += every;
    }
    seen
}
