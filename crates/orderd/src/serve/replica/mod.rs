//! What other processes took from the stream, into initmemchan.
//!
//! All processes share one durable consumer, and each was given some of the messages. Its ack floor says up to
//! where all messages are settled: committed, or dead letters, or nothing. Each process tells the others what it has
//! committed (`persist/tell`), and `hear` takes that in. Tellings may be lost: so once a second this one compares what
//! is settled with what it was given or told.
//!
//! What stays missing (`backstop`) is found by the `headers` of the stream's messages, and looked up in the table, by
//! the key that follows from a message's place in the stream (`look_up`). A process that is alone was given all.

mod hear;
mod company;
mod backstop;
mod headers;
mod open;
mod read_along;
mod look_up;
mod lag;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::stream::Stream;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::backstop::Backstop;
pub(crate) use self::company::Company;
use self::headers::Headers;
pub(crate) use self::hear::Hear;
pub(crate) use self::lag::Lag;
use self::open::Open;
use super::Record;
use super::cache::{Cache, Hasher};
use super::restore::Progress;
use crate::config::Settings;
use crate::health::{Health, Part};
use crate::ingest::Taken;
use crate::metrics::Metrics;
use crate::persist::tell::Teller;
use crate::postgres::LookUp;
use crate::retry::Backoff;
use crate::streams;

/// How often the ack floor is asked for: when all is told, and while headers come.
const QUIET: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_millis(100);

/// How long an answer of NATS is waited for: one that went with a connection never comes.
const LOOK: Duration = Duration::from_secs(2);

/// What the stage needs.
pub(crate) struct Replica {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) taken: Arc<Taken>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Arc<Health>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) lag: Arc<Lag>,
    pub(crate) company: Arc<Company>,
    pub(crate) teller: Arc<Teller>,
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
    /// Up to where all was settled at the last look.
    settled: u64,
    backstop: Backstop,
    /// None while all is told, or this process is alone.
    headers: Option<Headers>,
    open: Open,
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
            settled: 0,
            backstop: Backstop::default(),
            headers: None,
            open: Open::default(),
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
        self.parts.health.wait_up(Part::Intake).await;
        // It has subscribed long before.
        self.parts.teller.greet();
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
        self.parts.teller.here();
        let asked = Instant::now();
        let durable = stream.consumer_info(&self.parts.settings.durable).await?;
        let floor = durable.ack_floor.stream_sequence;
        self.delivered = durable.delivered.stream_sequence;
        let mark = self.mark(durable.created, floor);
        let mark = match &self.headers {
            None => self.by_tellings(&stream, mark, floor).await?,
            Some(_) => self.by_headers(&stream, mark, floor).await?,
        };
        self.settled = floor;
        self.mark = Some((durable.created, mark));
        self.parts.taken.forget_up_to(mark);
        let is_filling = !(self.parts.health.is_up(Part::Fill) && self.parts.progress.is_whole());
        self.parts.lag.set((floor, asked), mark, is_filling, self.parts.company.is_alone());
        if self.once_more.is_some_and(|due| due <= asked) {
            self.once_more = None;
            self.parts.progress.again();
        }
        let is_busy = self.headers.is_some() && (mark < floor || !self.open.is_empty());
        Ok(if is_busy { BUSY } else { QUIET })
    }

    /// Up to where all was given to this process or told, unless something is missing for too long.
    async fn by_tellings(&mut self, stream: &Stream<()>, mark: u64, floor: u64) -> anyhow::Result<u64> {
        let known = self.parts.taken.reach(mark).min(floor);
        if known == floor {
            self.backstop.is_whole();
        } else if self.backstop.is_due(known) && self.read_along(stream, known).await? {
            return Ok(floor);
        }
        Ok(known)
    }

    async fn stream(&mut self) -> anyhow::Result<Stream<()>> {
        if let Some(stream) = &self.stream {
            return Ok(stream.clone());
        }
        let mut context = self.parts.settings.nats.jetstream(self.parts.client.clone());
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
                self.settled = 0;
                if before == made { floor } else { 0 }
            }
        };
        self.mark = Some((made, mark));
        // What was told before of a durable that is no more is of no meaning here.
        self.parts.taken.set_made(made.unix_timestamp_nanos() as i64);
        mark
    }
}

/// The record of a row that another process has written.
fn record(hasher: &mut Hasher, id: &str, row: Option<&[u8]>) -> Result<Record, String> {
    match row.map(|row| hasher.record_of_row(id, row)) {
        Some(Ok(record)) => Ok(Record { arrived: true, ..record }),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("it is null".into()),
    }
}

fn warn_of_row(id: &str, problem: &str) {
    tracing::warn!(id, problem, "row can't be decoded, skipped");
}
