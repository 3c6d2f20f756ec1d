//! Publishes directly to NATS, as different clients do, and records each message in the ledger.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::ledger::{Kind, Ledger};
use crate::plan::Plan;

/// The document of the default model.
static SAMPLE: LazyLock<String> =
    LazyLock::new(|| model::Model::order().map(|model| model.sample).unwrap_or_default());

const SUBJECT: &str = "TESTING";

/// Time limit for an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of attempts of a client that retries.
const TRIES: usize = 50;

/// The interval at which the publisher sends its part of the rate.
const TICK: Duration = Duration::from_millis(10);

/// Bursts per second, and orders in each, so that batches grow.
const BURSTS: f64 = 1.0;
const BURST: std::ops::Range<usize> = 100..500;

/// How a message is published.
#[derive(Clone, Copy)]
enum PublishMode {
    /// Core NATS: no answer.
    Core,
    /// Once, with JetStream's acknowledgement.
    Once,
    /// With an id, repeated until it is acknowledged.
    Retried,
    /// With an id, twice at the same time.
    Twice,
}

/// A running publisher.
pub(crate) struct Publisher {
    extra: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Publisher {
    pub(crate) fn start(client: Client, ledger: Arc<Ledger>, plan: &Plan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ACK_TIMEOUT);
        let rng = Rng::with_seed(plan.seed ^ 0x9e37_79b9_7f4a_7c15);
        let extra = Arc::new(AtomicUsize::new(0));
        // A stream does not recognize the duplicate of a message that it has lost.
        let retries = !plan.may_lose();
        let sender = Sender { client, context, ledger, extra: extra.clone(), stopped, retries };
        Self { extra, stop, task: tokio::spawn(sender.run(plan.rate, rng)) }
    }

    /// Publishes more orders at once, so that the next fault finds orders in flight.
    pub(crate) fn burst(&self, count: usize) {
        self.extra.fetch_add(count, Ordering::Relaxed);
    }

    /// Stops publishing; messages in flight may still be acknowledged.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until no more acknowledgements can arrive.
    pub(crate) async fn finish(self) -> Result<()> {
        self.stop();
        self.task.await?
    }
}

#[derive(Clone)]
struct Sender {
    client: Client,
    context: Context,
    ledger: Arc<Ledger>,
    extra: Arc<AtomicUsize>,
    stopped: watch::Receiver<bool>,
    /// Whether a message may be sent twice with one id.
    retries: bool,
}

impl Sender {
    async fn run(self, rate: u32, mut rng: Rng) -> Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        let mut owed = 0.0;
        while !*self.stopped.borrow() {
            ticks.tick().await;
            owed += f64::from(rate) * TICK.as_secs_f64();
            owed += self.extra.swap(0, Ordering::Relaxed) as f64;
            if rng.f64() < BURSTS * TICK.as_secs_f64() {
                owed += rng.usize(BURST) as f64;
            }
            while owed >= 1.0 && !*self.stopped.borrow() {
                owed -= 1.0;
                self.send(&mut rng, &mut under_way).await;
            }
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
        Ok(())
    }

    async fn send(&self, rng: &mut Rng, under_way: &mut JoinSet<()>) {
        let (kind, way) = match (kind(rng), way(rng)) {
            (kind, PublishMode::Retried | PublishMode::Twice) if !self.retries => (kind, PublishMode::Once),
            chosen => chosen,
        };
        let number = self.ledger.enter(kind);
        let payload = payload(kind, &self.ledger.uid(number), rng, &self.client);
        let headers = self.headers(number, kind, way);
        if let PublishMode::Core = way {
            // Waits no longer than for an acknowledgement; the outcome is unknown.
            let published = self.client.publish_with_headers(SUBJECT, headers, payload);
            return drop(tokio::time::timeout(ACK_TIMEOUT, published).await);
        }
        for _ in 0..if matches!(way, PublishMode::Twice) { 2 } else { 1 } {
            let (sender, headers, payload) = (self.clone(), headers.clone(), payload.clone());
            under_way.spawn(async move { sender.acknowledged(number, way, headers, payload).await });
        }
    }

    fn headers(&self, number: usize, kind: Kind, way: PublishMode) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if matches!(way, PublishMode::Retried | PublishMode::Twice) {
            headers.insert("Nats-Msg-Id", self.ledger.uid(number).as_str());
        }
        if kind == Kind::Forged {
            headers.insert("Orderd-Key", format!("1700000000000000000-{}", number + 1));
        }
        headers
    }

    /// Publishes until acknowledged if an id makes retries safe; otherwise once.
    async fn acknowledged(self, number: usize, way: PublishMode, headers: HeaderMap, payload: Bytes) {
        for _ in 0..if matches!(way, PublishMode::Retried) { TRIES } else { 1 } {
            match self.publish(headers.clone(), payload.clone()).await {
                Ok(sequence) => return self.ledger.acknowledge(number, sequence),
                Err(_) => tokio::time::sleep(ACK_TIMEOUT / 10).await,
            }
        }
    }

    async fn publish(&self, headers: HeaderMap, payload: Bytes) -> Result<u64> {
        let sent = self.context.publish_with_headers(SUBJECT, headers, payload);
        let answer = tokio::time::timeout(ACK_TIMEOUT, sent).await??;
        Ok(answer.await?.sequence)
    }
}

fn kind(rng: &mut Rng) -> Kind {
    match rng.u8(..100) {
        0..=3 => Kind::Bad,
        4..=5 => Kind::Empty,
        6 => Kind::Forged,
        _ => Kind::Good,
    }
}

fn way(rng: &mut Rng) -> PublishMode {
    match rng.u8(..100) {
        0..=9 => PublishMode::Core,
        10..=29 => PublishMode::Retried,
        30..=34 => PublishMode::Twice,
        _ => PublishMode::Once,
    }
}

fn payload(kind: Kind, uid: &str, rng: &mut Rng, client: &Client) -> Bytes {
    match kind {
        Kind::Good | Kind::Forged => good(uid).into(),
        Kind::Bad => bad(uid, rng, client.server_info().max_payload).into(),
        Kind::Empty => Bytes::new(),
    }
}

/// The sample with a unique number.
fn good(uid: &str) -> String {
    let sample = &*SAMPLE;
    let at = sample.find("\"b563feb7b2b84b6test\"").unwrap_or_default();
    let rest = &sample[at..];
    let end = rest[1..].find('"').unwrap_or_default() + 2;
    format!("{}\"{uid}\"{}", &sample[..at], &rest[end..])
}

/// A payload that the decoder must refuse. One in two hundred leaves no room for headers.
fn bad(uid: &str, rng: &mut Rng, max_payload: usize) -> Vec<u8> {
    match rng.u8(..200) {
        0 => format!("no json {uid} {}", "x".repeat(max_payload.saturating_sub(600))).into_bytes(),
        1..=39 => format!("no json {uid}").into_bytes(),
        40..=79 => format!("{{\"order_uid\":\"{uid}\",\"sm_id\":99999999999999999999}}").into_bytes(),
        80..=119 => format!("[\"{uid}\"]").into_bytes(),
        120..=159 => format!("{{\"track_number\":\"{uid}\"}}").into_bytes(),
        _ => [b"{\"order_uid\":\"", uid.as_bytes(), b"\",\"entry\":\"\xff\"}"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones_are_taken_and_bad_ones_refused() {
        let mut parser =
            order::Parser::checking(model::Model::order().unwrap().shape(), &["order_uid".to_owned()], false)
                .unwrap();
        let mut rng = Rng::with_seed(1);
        for number in 0..500 {
            let uid = Ledger::new(7).uid(number);
            assert!(parser.parse(good(&uid).as_bytes(), "1-1").is_ok());
            let bad = bad(&uid, &mut rng, 1 << 20);
            assert!(parser.parse(&bad, "1-1").is_err(), "{}", String::from_utf8_lossy(&bad));
            assert_eq!(Ledger::new(7).number_in(&bad), Some(number));
        }
    }
}
