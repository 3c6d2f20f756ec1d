//! The stream's headers + PostgreSQL -> initmemchan: orders that other processes took from the stream.
//!
//! All processes share one durable consumer, and each was given some of the messages. Its ack floor says up to
//! where all messages are settled: committed, or dead letters, or nothing. What lies below it and was given to
//! another process is looked up in the table, by the key that follows from its place in the stream.
//!
//! A process that is alone was given all that is settled, and sees so by comparing two numbers a second. Only
//! when something is missing does it read the headers of the stream, for the keys.

mod headers;
mod lag;
mod open;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::{self, stream::Stream};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::headers::{Headers, Refused};
pub(crate) use self::lag::Lag;
use self::open::Open;
use super::Record;
use super::cache::{Cache, Hasher};
use super::restore::Progress;
use crate::config::Settings;
use crate::health::{Health, Part};
use crate::ingest::Taken;
use crate::metrics::Metrics;
use crate::postgres::{self, LookUp};
use crate::retry::Backoff;
use crate::streams;

/// How often the ack floor is asked for: when nothing comes, while something does, and after the first header.
const QUIET: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_millis(50);

/// How long an answer of NATS is waited for: one that went with a connection never comes.
const LOOK: Duration = Duration::from_secs(2);

/// Rows that are asked for in one query, and how long its answer may take.
const TOGETHER: usize = 2048;
const ANSWER: Duration = Duration::from_secs(10);

/// After so long without an order of another process this one is alone again.
const ALONE: Duration = Duration::from_secs(30);

/// Where the stream can't be read, or was trimmed, the table is read again: not more often than this, and once
/// more after the time in which a message that is out is settled.
const REFILL: Duration = Duration::from_secs(15);

/// What the stage needs.
pub(crate) struct Replica {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) taken: Arc<Taken>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Arc<Health>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) lag: Arc<Lag>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

/// How far it is.
struct Follower {
    parts: Replica,
    hasher: Hasher,
    initmemchan: mpsc::Sender<Vec<Record>>,
    stream: Option<Stream<()>>,
    connection: Option<LookUp>,
    /// When the durable consumer was made, and up to where all that is settled is in memory.
    mark: Option<(OffsetDateTime, u64)>,
    /// The durable has delivered up to here.
    delivered: u64,
    /// None while this process is alone.
    headers: Option<Headers>,
    open: Open,
    /// When an order of another process was last found.
    found: Instant,
    /// When the table was last told to be read again, and when it is to be once more.
    refilled: Option<Instant>,
    once_more: Option<Instant>,
}

impl Replica {
    /// Runs until told to stop.
    pub(crate) async fn run(self, initmemchan: mpsc::Sender<Vec<Record>>) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let mut follower = Follower {
            hasher: self.cache.hasher(),
            parts: self,
            initmemchan,
            stream: None,
            connection: None,
            mark: None,
            delivered: 0,
            headers: None,
            open: Open::default(),
            found: Instant::now(),
            refilled: None,
            once_more: None,
        };
        tokio::select! {
            () = follower.follow() => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }
}

impl Follower {
    async fn follow(&mut self) {
        while !self.parts.health.is_up(Part::Intake) {
            sleep(BUSY / 10).await;
        }
        let mut backoff = Backoff::default();
        loop {
            match self.look().await {
                Ok(pause) => {
                    backoff.reset();
                    self.gather(pause).await;
                }
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "can't look for orders of other processes");
                    // Both are made anew.
                    (self.stream, self.connection) = (None, None);
                    backoff.wait().await;
                }
            }
        }
    }

    /// Takes into memory what is settled; gives back how long to wait until the next look.
    async fn look(&mut self) -> anyhow::Result<Duration> {
        let stream = self.stream().await?;
        let asked = Instant::now();
        let durable = stream.consumer_info(&self.parts.settings.durable).await?;
        let floor = durable.ack_floor.stream_sequence;
        self.delivered = durable.delivered.stream_sequence;
        let mark = self.mark(durable.created, floor);
        let is_ours = self.headers.is_none() && self.parts.taken.has_all(mark + 1..=floor);
        let is_refilled = !is_ours && self.headers.is_none() && self.read_along(&stream, mark).await?;
        let mark = match &mut self.headers {
            None if is_ours || is_refilled => floor,
            None => mark,
            Some(headers) => {
                match headers.is_trimmed(&stream, floor).await {
                    Ok(None) => {}
                    Ok(Some(first)) => {
                        tracing::warn!(first, "messages left the stream before they were seen here");
                        self.refill();
                    }
                    Err(error) => {
                        // Its consumer may be gone with the server; nobody would notice while it is not read.
                        self.headers = None;
                        return Err(error);
                    }
                }
                self.resolve(floor).await?;
                let read = self.headers.as_ref().map_or(floor, Headers::read);
                floor.min(read).min(self.open.first().map_or(u64::MAX, |first| first - 1))
            }
        };
        self.mark = Some((durable.created, mark));
        self.parts.taken.forget_up_to(mark);
        let is_whole = mark == floor && self.parts.health.is_up(Part::Fill) && self.parts.progress.is_whole();
        self.parts.lag.set(floor - mark, is_whole.then_some(asked), self.headers.is_some());
        if self.once_more.is_some_and(|due| due <= asked) {
            self.once_more = None;
            self.parts.progress.again();
        }
        if mark == floor {
            self.part().await;
        }
        let is_busy = self.headers.is_some() && (mark < floor || !self.open.is_empty());
        Ok(if is_busy { BUSY } else { QUIET })
    }

    async fn stream(&mut self) -> anyhow::Result<Stream<()>> {
        if let Some(stream) = &self.stream {
            return Ok(stream.clone());
        }
        let mut context = jetstream::new(self.parts.client.clone());
        context.set_timeout(LOOK);
        let name =
            streams::stream(&context, &self.parts.settings.nats).await?.cached_info().config.name.clone();
        let stream = context.get_stream_no_info(name).await?;
        Ok(self.stream.insert(stream).clone())
    }

    /// Up to where all is in memory: at the start, what was settled before the table is read.
    fn mark(&mut self, made: OffsetDateTime, floor: u64) -> u64 {
        let mark = match self.mark {
            Some((before, mark)) if before == made && mark <= floor => return mark,
            None => {
                self.parts.progress.placed();
                floor
            }
            // It begins anew, or remembers less than it did: a server was restored, killed, or told to.
            Some((before, _)) => {
                self.parts.taken.clear();
                self.open = Open::default();
                self.headers = None;
                if before == made { floor } else { 0 }
            }
        };
        self.mark = Some((made, mark));
        mark
    }

    /// Others take messages too: from here on the stream's headers are read. `true`: they can't be, and the
    /// table is read again.
    async fn read_along(&mut self, stream: &Stream<()>, mark: u64) -> anyhow::Result<bool> {
        self.open = Open::default();
        self.found = Instant::now();
        match Headers::start(stream, &self.parts.settings.nats.topic, mark).await {
            Ok(headers) => {
                tracing::debug!(mark, "other processes take messages too");
                self.headers = Some(headers);
                Ok(false)
            }
            // A work queue, for example, has one consumer.
            Err(Refused::ForGood(error)) => {
                let is_due = self.refilled.is_none_or(|at| at.elapsed() >= REFILL);
                if is_due {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "can't read the stream beside the consumer; reading the table again"
                    );
                    self.refill();
                }
                Ok(is_due)
            }
            Err(Refused::ForNow(error)) => Err(error),
        }
    }

    /// Reads the table again: now, and once more when what is out by now is settled.
    fn refill(&mut self) {
        let now = Instant::now();
        self.parts.metrics.replica_refills.inc();
        self.parts.progress.again();
        (self.refilled, self.once_more) = (Some(now), Some(now + REFILL));
    }

    /// Reads headers for so long, or less where there is something to look for.
    async fn gather(&mut self, pause: Duration) {
        let mut until = Instant::now() + pause;
        loop {
            let has_room = self.has_room();
            let Some(headers) = self.headers.as_mut().filter(|_| has_room) else {
                return sleep_until(until).await;
            };
            let header = tokio::select! {
                header = headers.next() => header,
                () = sleep_until(until) => return,
            };
            match header {
                Ok((sequence, Some(key))) => {
                    self.open.add(sequence, key);
                    until = until.min(Instant::now() + SOON);
                }
                Ok((_, None)) => {}
                Err(error) => {
                    tracing::debug!(
                        error = format!("{error:#}"),
                        "headers are read again from the last mark"
                    );
                    self.headers = None;
                    return sleep(SOON).await;
                }
            }
        }
    }

    /// Not far ahead of the durable: what it has not delivered is in no table.
    fn has_room(&self) -> bool {
        let read = self.headers.as_ref().map_or(0, Headers::read);
        self.open.has_room(read < self.delivered)
    }

    /// Asks the table for what others took.
    async fn resolve(&mut self, floor: u64) -> anyhow::Result<()> {
        let Replica { taken, cache, .. } = &self.parts;
        self.open
            .retain(|sequence, key| !taken.has_all(sequence..=sequence) && !cache.contains(key.as_str()));
        let due = self.open.due(floor);
        for due in due.chunks(TOGETHER) {
            let ids: Vec<_> = due.iter().map(|(_, key)| key.as_str()).collect();
            let rows = postgres::rows(&mut self.connection, &self.parts.settings.postgres, &ids);
            let rows = timeout(ANSWER, rows).await.context("PostgreSQL does not answer")??;
            let mut records = Vec::with_capacity(rows.len());
            for (sequence, key) in due {
                if let Some(row) = rows.get(key.as_str()) {
                    self.found = Instant::now();
                    cache.readmit(key);
                    records.extend(record(&mut self.hasher, key.as_str(), row.as_deref()));
                }
                self.open.answered(*sequence, rows.contains_key(key.as_str()), floor);
            }
            self.parts.metrics.filled.inc_by(records.len() as u64);
            self.parts.metrics.replica_orders.inc_by(records.len() as u64);
            if !records.is_empty() && self.initmemchan.send(records).await.is_err() {
                anyhow::bail!("the service stops");
            }
        }
        Ok(())
    }

    /// Where nobody else has taken anything for long, the headers are read no more.
    async fn part(&mut self) {
        if self.found.elapsed() >= ALONE
            && let Some(headers) = self.headers.take()
        {
            tracing::debug!("no other process takes messages any more");
            headers.end().await;
            self.open = Open::default();
        }
    }
}

fn record(hasher: &mut Hasher, id: &str, row: Option<&[u8]>) -> Option<Record> {
    let problem = match row.map(|row| hasher.record_of_row(id, row)) {
        Some(Ok(record)) => return Some(Record { arrived: true, ..record }),
        Some(Err(error)) => error.to_string(),
        None => "it is null".into(),
    };
    tracing::warn!(id, problem, "row can't be decoded, skipped");
    None
}
