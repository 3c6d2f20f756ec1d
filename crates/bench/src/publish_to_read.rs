//! From an order's publish until it is served: polls `/mem_len`, which counts all orders that `/order/{id}` has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_nats::jetstream;

use crate::environment::Environment;
use crate::http::Connection;
use crate::latency::{publish, quiet_service};
use crate::report::{Figure, Goal};
use crate::service::mem_len;
use crate::stats::percentile;
use crate::{REPETITIONS, repetition};

const ORDERS: u64 = 8000;

/// Pause between a response and the next request.
const PAUSE: Duration = Duration::from_micros(200);

/// Time limit for the last order.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let (mut ours, mut round_trips) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("publish to served", number);
        let (served, answered) = measure(env)?;
        ours.push(percentile(&served, 99.0));
        round_trips.push(percentile(&answered, 99.0));
    }
    Ok(vec![Figure {
        bench: "latency",
        what: "publish to served, p99".to_owned(),
        unit: "ms",
        ours,
        limit: Some(("publish to NATS's answer".to_owned(), round_trips)),
        goal: Goal::Below(5.0),
        note: format!("as /mem_len shows it, asked {} µs after each answer", PAUSE.as_micros()),
    }])
}

/// Milliseconds until each order was served, and until each publish was answered.
fn measure(env: &mut Environment) -> Result<(Vec<f64>, Vec<f64>)> {
    let (service, setup) = quiet_service(env)?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = {
        let (connection, stop) = (service.connection()?, stop.clone());
        std::thread::spawn(move || watch(connection, &stop))
    };
    let url = env.nats.url();
    let published = env.runtime.block_on(async {
        let client = async_nats::connect(&url).await?;
        publish(&jetstream::new(client), &setup.subject, 0..ORDERS).await
    });
    let waited = published.and_then(|published| {
        service.wait_len(published.0.len() as u64)?;
        Ok(published)
    });
    std::thread::sleep(PAUSE * 50);
    stop.store(true, Ordering::Relaxed);
    let seen = watch.join().unwrap_or_default();
    let (sent, round_trips) = waited?;
    service.stop()?;
    env.settle(Some(&setup.table))?;
    let served = served(&sent, &seen);
    ensure!(served.len() == sent.len(), "only {} of {} orders were seen", served.len(), sent.len());
    Ok((served, round_trips))
}

/// Each time at which the count increased, and the count.
fn watch(mut connection: Connection, stop: &AtomicBool) -> Vec<(Instant, u64)> {
    let (mut seen, mut last, begun) = (Vec::new(), 0, Instant::now());
    while !stop.load(Ordering::Relaxed) && begun.elapsed() < VISIBLE_TIMEOUT {
        if let Some(len) = mem_len(&mut connection).filter(|len| *len > last) {
            seen.push((Instant::now(), len));
            last = len;
        }
        std::thread::sleep(PAUSE);
    }
    seen
}

/// Latencies; orders become visible in the order of sending.
fn served(sent: &[Instant], seen: &[(Instant, u64)]) -> Vec<f64> {
    let mut at = 0;
    let took = sent.iter().zip(1_u64..).map_while(|(sent, count)| {
        at += seen[at..].iter().position(|(_, len)| *len >= count)?;
        Some(seen[at].0.saturating_duration_since(*sent).as_secs_f64() * 1e3)
    });
    took.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_served_when_so_many_are() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let seen = [(at(3), 2), (at(9), 3)];
        assert_eq!(served(&[at(0), at(1), at(2)], &seen), [3.0, 2.0, 7.0]);
        assert_eq!(served(&[at(0), at(1), at(2), at(3)], &seen).len(), 3);
    }
}
