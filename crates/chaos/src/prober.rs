//! Continuously reads orders that are in the table or that any service has listed. No service may answer 404 for one,
//! whatever fails.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::checker::uid_in;
use crate::http;
use crate::observer::Row;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(4);

/// Interval, in requests, of requests for a service's last page.
const PAGE_EVERY: u32 = 16;

/// Maximum number of wrong responses to keep.
const MAX_KEPT: usize = 10_000;

/// Responses to the prober, counted.
#[derive(Clone, Default, Debug)]
pub struct Probes {
    /// 200, with the right order.
    pub found: u64,
    /// 503: the service can't know now.
    pub later: u64,
    /// No answer: the service is down or stopped.
    pub unanswered: u64,
    /// Anything else.
    pub wrong: Vec<WrongResponse>,
}

/// A wrong response for an order that is in the table or was listed.
#[derive(Clone, Debug)]
pub struct WrongResponse {
    /// The order's id.
    pub id: String,
    /// The response's status.
    pub status: u16,
    /// Time since the start of the round.
    pub at: Duration,
}

impl fmt::Display for WrongResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, status, at } = self;
        let at = at.as_secs_f64();
        write!(f, "/order/{id}, which is in the table or was listed, was answered {status} after {at:.1} s")
    }
}

/// Orders that must exist: their ids, and their `order_uid`s if known from the table.
type KnownOrders = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A running prober.
pub(crate) struct Prober {
    known: KnownOrders,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Probes>,
}

impl Prober {
    pub(crate) fn start(addrs: Vec<SocketAddr>, seed: u64) -> Self {
        let (known, over) = (KnownOrders::default(), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (known, over) = (known.clone(), over.clone());
            move || probe(&addrs, &known, &over, Rng::with_seed(seed))
        });
        Self { known, over, thread }
    }

    /// Adds orders to request.
    pub(crate) fn learn(&self, rows: &[Row]) {
        let read =
            rows.iter().filter_map(|(id, json)| Some((id.clone(), Some(uid_in(json.as_ref().ok()?)?))));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
    }

    pub(crate) fn finish(self) -> Probes {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn probe(addrs: &[SocketAddr], known: &KnownOrders, over: &AtomicBool, mut rng: Rng) -> Probes {
    let begun = Instant::now();
    let mut probes = Probes::default();
    let mut asked = 0_u32;
    while !over.load(Ordering::Relaxed) {
        thread::sleep(PAUSE);
        asked = asked.wrapping_add(1);
        if asked.is_multiple_of(PAGE_EVERY) {
            let listed = listed(addrs[rng.usize(..addrs.len())]);
            known.lock().unwrap_or_else(PoisonError::into_inner).extend(listed);
        }
        let chosen = {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            rng.choice(known.iter()).cloned()
        };
        let Some((id, uid)) = chosen else { continue };
        let addr = addrs[rng.usize(..addrs.len())];
        match http::get(addr, &format!("/order/{id}"), REQUEST_TIMEOUT) {
            Ok((200, body)) if uid.is_none() || uid_in(&body) == uid => probes.found += 1,
            Ok((503, _)) => probes.later += 1,
            Err(_) => probes.unanswered += 1,
            Ok((status, _)) => probes.wrong(&id, status, begun.elapsed()),
        }
    }
    probes
}

/// The ids of a service's last page.
fn listed(addr: SocketAddr) -> Vec<(String, Option<String>)> {
    let page = match http::get(addr, "/order_pages/last", REQUEST_TIMEOUT) {
        Ok((200, page)) => page,
        _ => return Vec::new(),
    };
    let ids: Vec<String> = serde_json::from_str(&page).unwrap_or_default();
    ids.into_iter().map(|id| (id, None)).collect()
}

impl Probes {
    fn wrong(&mut self, id: &str, status: u16, at: Duration) {
        if self.wrong.len() < MAX_KEPT {
            self.wrong.push(WrongResponse { id: id.to_owned(), status, at });
        }
    }
}
