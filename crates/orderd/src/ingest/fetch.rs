//! NATS -> natschan: the only consumer of the stream.
//!
//! It reads in runs, which `writer` starts. A run begins just after the table's position and reads with an ordered
//! consumer, which is recreated whenever it is lost. Before each new consumer, `fetch` checks that the stream is still
//! the same.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use order::Key;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::source::connection::{Connected, IntakeClient};
use super::source::jetstream::{OrderedConsumer, PullLimit};
use super::source::lost_messages::HighestRead;
use super::source::unreadable::{self, RepeatedFailures};
use crate::aligned_interval;
use crate::backoff::Backoff;
use crate::config::Settings;
use crate::dead_letters::store::DeadLetterStore;
use crate::flow_state::Gap;
use crate::flow_state::{
    FlowState, ProblemReport, ReadProgress, RunProblem, StreamIdentity, StreamRun, Watermark,
};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::nats::intake_message::{Message, StreamPosition};
use crate::nats::{self, NatsError};
use crate::nats::{orders_stream, stored_message};
use crate::pipeline_chunks::{ChunkTimes, Messages};

/// How far a process reads beyond the table's position: the maximum number of uncommitted orders in memory.
const MAX_LEAD: u64 = 65_536;

/// How often the position of a quiet topic advances in a stream that has other subjects too.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// How often a gap in the sequences is checked for messages that were purged unread.
const PURGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Time limit for the trials of whether any client can receive a message.
const TRIALS_TIMEOUT: Duration = Duration::from_secs(5);

/// What the stage needs.
pub(crate) struct Fetch {
    pub(crate) settings: Arc<Settings>,
    /// The service's client, used to check the server.
    pub(crate) client: Client,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) intake_client: IntakeClient,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

/// The progress of a run.
struct RunCursor {
    run: StreamRun,
    /// The last message that was sent to `natschan`.
    last: Watermark,
    /// The sequence after which messages were missing, and when that was last checked.
    gap: Option<u64>,
    looked: Instant,
    /// Messages up to this one are counted as received.
    counted: u64,
    /// The last message that was sent, also in earlier runs.
    highest: Option<HighestRead>,
}

impl RunCursor {
    /// The message after which to read `run`, after the run `before`. Another process may have moved the position
    /// beyond what this memory has read; reading then continues where this memory stopped. A new memory starts at its
    /// own beginning.
    fn next(before: Option<&Self>, run: &StreamRun) -> Watermark {
        let before = before.filter(|before| {
            (before.run.generation, before.run.stream_created) == (run.generation, run.stream_created)
        });
        let read = before.map_or(run.memory_after, |before| before.last);
        if read.seq < run.after.seq { read } else { run.after }
    }
}

/// Why reading a run ended.
enum ReadEnd {
    /// The service stops, or `writer` starts another run.
    Interrupted,
    /// The run can't continue.
    Problem(ProblemReport),
    /// The consumer was lost while it delivered.
    ConsumerLost(anyhow::Error),
}

impl Fetch {
    /// Reads until the service stops, whatever the server does meanwhile.
    ///
    /// # Errors
    /// A server or a stream that can't be used, at the start.
    pub(crate) async fn run(self, natschan: mpsc::Sender<Messages>) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        tokio::select! {
            ended = self.read_runs(&natschan) => ended,
            () = stop.cancelled() => Ok(()),
        }
    }

    async fn read_runs(&self, natschan: &mpsc::Sender<Messages>) -> anyhow::Result<()> {
        let mut runs = self.flow_state.run.subscribe();
        let mut backoff = Backoff::default();
        let mut limit = PullLimit::default();
        let mut reading: Option<RunCursor> = None;
        let mut has_read = false;
        let mut failures = RepeatedFailures::default();
        loop {
            let ended = self.read(natschan, &mut runs, &mut reading, &mut limit, &mut backoff).await;
            let (error, has_delivered) = match ended {
                Ok(ReadEnd::Interrupted) if natschan.is_closed() => return Ok(()),
                Ok(ReadEnd::Interrupted) => {
                    has_read = true;
                    continue;
                }
                Ok(ReadEnd::Problem(report)) => {
                    self.flow_state.problem.send_replace(Some(report));
                    drop(runs.changed().await);
                    continue;
                }
                Ok(ReadEnd::ConsumerLost(error)) => (error, true),
                Err(error) if !has_read && error.is::<NatsError>() => return Err(error),
                Err(error) => (error, false),
            };
            let error = format!("{error:#}");
            if limit.heed(&error) {
                continue;
            }
            self.health.down(Part::Intake, error);
            // A server that does not answer reveals nothing about the next message.
            if has_delivered
                && let Some(reading) = &mut reading
                && failures.add(reading.last.seq)
            {
                self.pass_unreadable(natschan, &mut runs, reading).await;
                failures.clear();
            }
            backoff.wait().await;
        }
    }

    /// Sends the next message as a dead letter if no client can receive it. If the server does not answer, this reveals
    /// nothing and is abandoned.
    async fn pass_unreadable(
        &self,
        natschan: &mpsc::Sender<Messages>,
        runs: &mut watch::Receiver<Option<StreamRun>>,
        reading: &mut RunCursor,
    ) {
        let found = unreadable::find(&self.settings.nats, reading.last.seq);
        let found = tokio::time::timeout(TRIALS_TIMEOUT, found).await;
        let message = match found.map_err(anyhow::Error::from).flatten() {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                let error = format!("{error:#}");
                return tracing::debug!(error, "can't search for a message that breaks connections");
            }
        };
        let sequence = message.position.sequence;
        tracing::error!(sequence, "the NATS client fails at this message; it becomes a dead letter");
        let (run, through) = (reading.run, message.position.watermark());
        let times = self.times();
        let chunk =
            Messages { run, through, messages: vec![message], skipped: Vec::new(), gaps: Vec::new(), times };
        self.hand_on_chunk(chunk, natschan, runs, reading, 0).await;
    }

    /// Reads with one consumer.
    async fn read(
        &self,
        natschan: &mpsc::Sender<Messages>,
        runs: &mut watch::Receiver<Option<StreamRun>>,
        reading: &mut Option<RunCursor>,
        limit: &mut PullLimit,
        backoff: &mut Backoff,
    ) -> anyhow::Result<ReadEnd> {
        let settings = &self.settings.nats;
        let timeout = backoff.patience();
        nats::connected(&self.client, settings, timeout, || self.health.wait_up(Part::Nats)).await?;
        let Connected { client, cuts, is_new } = self.intake_client.connected(settings).await?;
        if is_new {
            // Failed attempts to connect say nothing about this server's response times.
            backoff.reset();
        }
        let mut context = settings.jetstream(client.clone());
        context.set_timeout(backoff.patience());
        let stream = self.find_stream(&context).await?;
        let Some(run) = *runs.borrow_and_update() else {
            // PostgreSQL has not been reached yet.
            drop(runs.changed().await);
            return Ok(ReadEnd::Interrupted);
        };
        if reading.as_ref().is_none_or(|reading| reading.run.id != run.id) {
            let counted = reading.as_ref().map_or(0, |reading| reading.counted).max(run.after.seq);
            let last = RunCursor::next(reading.as_ref(), &run);
            let highest = reading.as_ref().and_then(|reading| reading.highest);
            *reading = Some(RunCursor { run, last, gap: None, looked: Instant::now(), counted, highest });
        }
        let Some(reading) = reading else { return Ok(ReadEnd::Interrupted) };
        let problem = self.problem_of(&context, &stream, reading).await?;
        self.note_vanished(&context, &stream, reading, problem).await?;
        if let Some(report) = problem {
            self.refuse_sources(&stream, report.problem)?;
            return Ok(ReadEnd::Problem(report));
        }
        if self.flow_state.vanished.borrow().is_some() {
            // `writer` counts them when it takes the lease again.
            let report = ProblemReport { run: run.id, problem: RunProblem::Replaced, at_position: false };
            return Ok(ReadEnd::Problem(report));
        }
        let max_payload = client.max_payload();
        let consumer = OrderedConsumer::new(&stream, &settings.topic, reading.last.seq, *limit, max_payload);
        let mut consumer = consumer.await?.ending_with(cuts);
        self.flow_state
            .read_progress
            .send_replace(ReadProgress { seq: reading.last.seq, pending: consumer.pending() });
        self.health.up(Part::Intake);
        let ended = self.hand_on(&mut consumer, natschan, runs, reading, &stream, backoff).await;
        // Otherwise the consumer would stay for half a minute, and an account may have few.
        drop(tokio::time::timeout(Duration::from_secs(1), stream.delete_consumer(consumer.name())).await);
        Ok(ended.unwrap_or_else(ReadEnd::ConsumerLost))
    }

    /// Sends chunks until the consumer is lost, or another run begins.
    async fn hand_on(
        &self,
        consumer: &mut OrderedConsumer,
        natschan: &mpsc::Sender<Messages>,
        runs: &mut watch::Receiver<Option<StreamRun>>,
        reading: &mut RunCursor,
        stream: &Stream,
        backoff: &mut Backoff,
    ) -> anyhow::Result<ReadEnd> {
        let is_shared = stream.cached_info().config.subjects != [self.settings.nats.topic.as_str()];
        loop {
            let mut messages = Vec::new();
            let ended = tokio::select! {
                biased;
                _ = runs.changed() => return Ok(ReadEnd::Interrupted),
                ended = consumer.chunk(&mut messages) => ended,
                () = aligned_interval::next(COUNT_INTERVAL) => {
                    consumer.check_deliveries().await?;
                    if is_shared && let Some(end) = self.end_of_others(stream, consumer, reading.last, backoff.patience()).await? {
                        let times = self.times();
                        let chunk =
                            Messages { run: reading.run, through: end, messages, skipped: Vec::new(), gaps: Vec::new(), times };
                        if !self.hand_on_chunk(chunk, natschan, runs, reading, consumer.pending()).await {
                            return Ok(ReadEnd::Interrupted);
                        }
                    }
                    continue;
                }
            };
            if !messages.is_empty() {
                let times = self.times();
                backoff.reset();
                if self.were_purged(stream, reading, &messages).await? {
                    let at_position = reading.last.seq == reading.run.after.seq;
                    let report =
                        ProblemReport { run: reading.run.id, problem: RunProblem::Purged, at_position };
                    return Ok(ReadEnd::Problem(report));
                }
                // Between messages of other topics, a gap says nothing.
                let mut gaps = if is_shared { Vec::new() } else { gaps(reading, &messages) };
                // Messages that the table already has are sent to memory only, in separate chunks.
                let written = reading.run.after.seq;
                let rest = match messages.partition_point(|message| message.position.sequence <= written) {
                    0 => std::mem::take(&mut messages),
                    there => messages.split_off(there),
                };
                for messages in [messages, rest] {
                    let Some(last) = messages.last().map(|message| message.position.watermark()) else {
                        continue;
                    };
                    let gaps = gaps.extract_if(.., |gap| gap.end <= last.seq).collect();
                    let chunk = Messages {
                        run: reading.run,
                        through: last,
                        messages,
                        skipped: Vec::new(),
                        gaps,
                        times,
                    };
                    if !self.hand_on_chunk(chunk, natschan, runs, reading, consumer.pending()).await {
                        return Ok(ReadEnd::Interrupted);
                    }
                }
            }
            ended?;
        }
    }

    /// Sends a chunk once the table is near enough. `false`: another run begins, or the service stops.
    async fn hand_on_chunk(
        &self,
        chunk: Messages,
        natschan: &mpsc::Sender<Messages>,
        runs: &mut watch::Receiver<Option<StreamRun>>,
        reading: &mut RunCursor,
        pending: u64,
    ) -> bool {
        if !self.wait_for_table(reading.last.seq, runs).await {
            return false;
        }
        if reading.run.writes {
            // Messages that are reread after a failure are counted once.
            let is_new = |message: &&Message| message.position.sequence > reading.counted;
            self.metrics.handled.inc_by(chunk.messages.iter().filter(is_new).count() as u64);
            reading.counted = reading.counted.max(chunk.through.seq);
        }
        let through = chunk.through;
        let sent = tokio::select! {
            sent = natschan.send(chunk) => sent.is_ok(),
            _ = runs.changed() => false,
        };
        if sent {
            reading.last = through;
            let created = reading.run.stream_created;
            if reading.highest.is_none_or(|it| it.created != created || it.watermark.seq < through.seq) {
                reading.highest = Some(HighestRead { created, watermark: through });
            }
            self.flow_state.read_progress.send_replace(ReadProgress { seq: through.seq, pending });
        }
        sent
    }

    /// Messages that leave the stream before they are read show only as a gap.
    async fn were_purged(
        &self,
        stream: &Stream,
        reading: &mut RunCursor,
        messages: &[Message],
    ) -> anyhow::Result<bool> {
        let mut before = reading.last.seq;
        for message in messages {
            if message.position.sequence != before + 1 {
                reading.gap.get_or_insert(before);
            }
            before = message.position.sequence;
        }
        let Some(gap) = reading.gap.filter(|_| reading.looked.elapsed() >= PURGE_CHECK_INTERVAL) else {
            return Ok(false);
        };
        let first = stream.get_info().await?.state.first_sequence;
        reading.gap = None;
        reading.looked = Instant::now();
        Ok(first > gap + 1)
    }

    /// Waits while what is read already is far ahead of the table. `false`: another run begins.
    async fn wait_for_table(&self, read: u64, runs: &mut watch::Receiver<Option<StreamRun>>) -> bool {
        if read <= self.flow_state.position().saturating_add(MAX_LEAD) {
            return true;
        }
        let mut table = self.flow_state.table.subscribe();
        let near = table.wait_for(|table| {
            table.as_ref().is_some_and(|table| read <= table.watermark.seq.saturating_add(MAX_LEAD))
        });
        tokio::select! {
            _ = near => true,
            _ = runs.changed() => false,
        }
    }

    /// The times of a chunk that is received now, if tracing is on.
    fn times(&self) -> Option<ChunkTimes> {
        self.settings.traces.is_some().then(ChunkTimes::now)
    }

    /// The stream of orders and the stream of dead letters, created if missing.
    async fn find_stream(&self, context: &Context) -> anyhow::Result<Stream> {
        let settings = &self.settings.nats;
        let stream = orders_stream::find_or_create(context, settings).await?;
        orders_stream::warn_of_settings(&self.client, stream.cached_info(), &settings.topic);
        let retention = match stream.cached_info().config.retention {
            RetentionPolicy::Limits => "limits",
            RetentionPolicy::Interest => "interest",
            RetentionPolicy::WorkQueue => "workqueue",
        };
        orders_stream::refuse_retention(&stream.cached_info().config.name, retention)?;
        self.dead_letters.open(&stream.cached_info().config.name).await?;
        let info = stream.cached_info();
        let identity = StreamIdentity {
            name: info.config.name.clone(),
            created: orders_stream::created_micros(info),
            first: info.state.first_sequence,
            acknowledged: orders_stream::acknowledged_before(&stream, &settings.topic).await?,
        };
        self.flow_state.stream.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&identity);
            *known = Some(identity);
            is_new
        });
        Ok(stream)
    }

    /// Whether a run can't continue in this stream, which lacks its position.
    async fn problem_of(
        &self,
        context: &Context,
        stream: &Stream,
        reading: &RunCursor,
    ) -> anyhow::Result<Option<ProblemReport>> {
        let info = stream.cached_info();
        let RunCursor { run, last, .. } = reading;
        let report =
            |problem| Some(ProblemReport { run: run.id, problem, at_position: last.seq == run.after.seq });
        if orders_stream::created_micros(info) != run.stream_created {
            return Ok(Some(ProblemReport { run: run.id, problem: RunProblem::Replaced, at_position: true }));
        }
        // A cursor or a position beyond the stream's last message belongs to another stream: new messages up to there
        // would count as read, or as written. `info` may be older than the position, so ask again before deciding.
        if last.seq.max(run.after.seq) > info.state.last_sequence {
            let last_sequence = stream.get_info().await?.state.last_sequence;
            if run.after.seq > last_sequence {
                return Ok(Some(ProblemReport {
                    run: run.id,
                    problem: RunProblem::Replaced,
                    at_position: true,
                }));
            }
            if last.seq > last_sequence {
                return Ok(report(RunProblem::Replaced));
            }
        }
        let are_purged = last.seq + 1 < info.state.first_sequence;
        // There is no message with sequence 0 to compare a time with.
        let Some(time) = last.time.filter(|_| last.seq > 0) else {
            return Ok(report(RunProblem::Purged).filter(|_| are_purged));
        };
        match stored_message::at(context, &info.config.name, last.seq).await? {
            Some(found) if found.watermark() == *last => Ok(None),
            None if last.seq < info.state.first_sequence => Ok(report(RunProblem::Purged)),
            None if self.is_erased(last.seq, time).await? => Ok(None),
            // Another message or none at that sequence: the stream was restored from a copy, and may have new messages.
            _ => Ok(report(RunProblem::Replaced)),
        }
    }

    /// Records read messages that the stream has lost. Checks only if the run has detected that the stream went back,
    /// or if an earlier run has read further than this one.
    async fn note_vanished(
        &self,
        context: &Context,
        stream: &Stream,
        reading: &mut RunCursor,
        problem: Option<ProblemReport>,
    ) -> anyhow::Result<()> {
        let is_replaced = problem.is_some_and(|report| report.problem == RunProblem::Replaced);
        let highest = reading.highest.filter(|it| is_replaced || it.watermark.seq > reading.last.seq);
        let Some(highest) = highest else { return Ok(()) };
        if let Some(vanished) = highest.vanished(context, stream).await? {
            self.flow_state.vanished.send_replace(Some(vanished));
            reading.highest = None;
        }
        Ok(())
    }

    /// Whether the order of the message at that sequence was erased, together with the message.
    async fn is_erased(&self, seq: u64, time: i64) -> anyhow::Result<bool> {
        let erased = nats::uninterrupted(&self.client, self.dead_letters.erased()).await;
        let erased = erased.context("the connection to NATS was lost while erased keys were listed")??;
        Ok(erased.iter().any(|key| {
            Key::time_and_sequence(key).is_some_and(|(at, of)| of == seq && nats::micros(at.into()) == time)
        }))
    }

    /// The end of a stream with other subjects, once all its messages of the topic are read.
    async fn end_of_others(
        &self,
        stream: &Stream,
        consumer: &OrderedConsumer,
        last: Watermark,
        timeout: Duration,
    ) -> anyhow::Result<Option<Watermark>> {
        // Reads the end first: all messages of the topic up to it are then pending or delivered.
        let end = stream.get_info().await?.state.last_sequence;
        if end <= last.seq || !consumer.has_all().await? {
            return Ok(None);
        }
        let mut context = self.settings.nats.jetstream(self.client.clone());
        // A response that was lost with its connection never comes.
        context.set_timeout(timeout);
        let message = stored_message::at(&context, &stream.cached_info().config.name, end).await?;
        Ok(message.map(|message| message.watermark()))
    }

    /// A recreated stream that sources others gives their messages new times: each would become a second order.
    fn refuse_sources(&self, stream: &Stream, problem: RunProblem) -> anyhow::Result<()> {
        let name = &stream.cached_info().config.name;
        anyhow::ensure!(
            problem != RunProblem::Replaced || !orders_stream::has_sources(&stream.cached_info().config),
            "the stream {name} has sources and was recreated: its messages have new times, and reading them again would \
             store each of them twice; set NATS_STREAM to a new name, or delete the row of {name} from orderd_position to read all of them again"
        );
        Ok(())
    }
}

/// The sequences that are missing before and among these messages, beyond the table's position.
fn gaps(reading: &RunCursor, messages: &[Message]) -> Vec<Gap> {
    let mut next = reading.last.seq.max(reading.run.after.seq) + 1;
    let mut gaps = Vec::new();
    for Message { position: StreamPosition { sequence, .. }, .. } in messages {
        if next < *sequence {
            gaps.push(next..*sequence);
        }
        next = next.max(sequence + 1);
    }
    gaps
}
