//! gobchan -> PostgreSQL: rows and position in one transaction, by one process at a time.
//!
//! A process waits until the lease in the position's row is free, takes it, and starts a run from the position on. From
//! then on, a batch is what has arrived while the previous batch was committed: a single order is committed at once,
//! and batches grow under load. A batch whose fence does not match changes nothing; the writer then reads the row
//! again.
//!
//! COPY is several times faster than INSERT but fails at a key that is already stored, so INSERT … ON CONFLICT writes
//! what COPY refuses.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cache::Cache;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::connection::{CommitFailure, WriterConnection};
use super::dead_letter_writer::DeadLetterWriter;
use super::encode::EncodedRows;
use crate::aligned_interval;
use crate::backoff::Backoff;
use crate::config::Settings;
use crate::dead_letters::refused_before::RefusedBefore;
use crate::dead_letters::store::DeadLetterStore;
use crate::fill_progress::FillProgress;
use crate::flow_state::Gap;
use crate::flow_state::{FlowState, StreamIdentity, StreamRun, Watermark};
use crate::health::{Health, Part};
use crate::metrics::Metrics;
use crate::orders_in_doubt::OrdersInDoubt;
use crate::postgres::describe;
use crate::postgres::fence::Fence;
use crate::postgres::lease;
use crate::random;
use crate::receipts::{Answered, Receipts};
use crate::traces::Traces;

/// How often an idle writer renews its lease, and so notices that PostgreSQL is down, or went back.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);

/// How long the lease is renewed while the intake is down and NATS is not: where processes take it from each other because
/// NATS is slow, each reads again, and none gets on.
const INTAKE_GRACE: time::Duration = time::Duration::seconds(10);

/// Time limit for listing the erased keys: shorter than a lease.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// What the stage needs.
pub(crate) struct Writer {
    pub(crate) settings: Arc<Settings>,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) progress: Arc<FillProgress>,
    pub(crate) in_doubt: OrdersInDoubt,
    pub(crate) traces: Option<Arc<Traces>>,
    /// Shutdown has begun: what can't be committed at once stays in the stream.
    pub(crate) stop: CancellationToken,
    /// The shutdown's time limit has passed: what is not committed stays in the stream.
    pub(crate) give_up: CancellationToken,
}

/// The running stage.
pub(super) struct RunningWriter {
    pub(super) deps: Writer,
    /// The name of this process in the position's row.
    pub(super) name: String,
    /// This process's model and rules, as [`Position::model`] names them.
    pub(super) model: String,
    pub(super) connection: Option<WriterConnection>,
    /// Messages up to this one were passed by a writer with another model.
    pub(super) own_form_after: u64,
    /// The last seen state of the row.
    pub(super) seen: Option<LastPosition>,
    pub(super) run: Option<StreamRun>,
    /// The generation of the memory that is filled.
    pub(super) generation: u64,
    /// Delay after failures.
    pub(super) backoff: Backoff,
    /// PostgreSQL refused the last write.
    pub(super) is_refused: bool,
    /// The stream of this process's rows.
    pub(super) stream: Option<StreamIdentity>,
    /// Keys of erased orders, which are not written.
    pub(super) erased: watch::Sender<HashSet<String>>,
    /// Those of them that NATS has, as far as they were read, and whether they must be read again: the table may have
    /// gone back to a state without them.
    pub(super) erased_in_nats: Vec<String>,
    pub(super) rereads_erased: bool,
    pub(super) dead_letters: DeadLetterWriter,
    /// Of messages that this term reads again: the process that refused them had another model, or PostgreSQL refused
    /// their rows.
    pub(super) refused_before: RefusedBefore,
    /// Which messages had their receipts before the batch that is being written.
    pub(super) answered: Answered,
    /// Whether a message of that batch asks for a receipt.
    pub(super) asks_receipt: bool,
    /// Duration of the next lease that is taken.
    pub(super) lease: Duration,
    /// Maximum rows in one statement, where the role has a short statement timeout.
    pub(super) max_rows: usize,
    /// Whether the table may already have the next rows. COPY would fail, so INSERT is used until a batch finds no
    /// existing rows.
    pub(super) may_be_stored: bool,
    /// Whether a missing last row means that the table lost rows. `false` once something is known to delete new rows.
    pub(super) watches_rows: bool,
    /// Sequences that were missing from the stream, up to the batch being written.
    pub(super) gaps: Vec<Gap>,
    /// Number of messages that left the stream before they were read, from the position's row.
    pub(super) messages_lost: u64,
    /// Older orders of this batch are skipped: PostgreSQL refused an order older than `KEEP`, whose partition was
    /// dropped. Nanoseconds since 1970.
    pub(super) expired_before: Option<i128>,
    /// When rows were last accepted by PostgreSQL and not in the table, for as long as that is a warning.
    pub(super) rows_not_stored_at: Option<Instant>,
    /// When the last row was found missing.
    pub(super) rows_lost_at: Option<Instant>,
    /// When orders that were noted as accepted were found missing, and whether that is still to be acted upon.
    pub(super) noted_rows_lost_at: Option<Instant>,
    pub(super) lacks_noted_rows: bool,
}

/// The last seen state of the position's row.
#[derive(Clone, Copy)]
pub(super) struct LastPosition {
    pub(super) session: i64,
    pub(super) seq: u64,
    /// Whether the writer's model was this process's model.
    pub(super) is_own_form: bool,
}

/// How a term as the writer ends.
pub(super) enum TermEnd {
    /// This process has to take the lease again, if no other process has it.
    SteppedDown,
    /// `gobchan` is closed, or the shutdown's time limit has passed.
    Stopped,
}

impl Writer {
    /// Runs until `gobchan` closes.
    pub(crate) async fn run(self, mut gobchan: mpsc::Receiver<EncodedRows>) -> anyhow::Result<()> {
        let erased = watch::Sender::new(HashSet::new());
        let mut running = RunningWriter {
            name: name(),
            model: self.settings.fingerprint.clone(),
            dead_letters: DeadLetterWriter::new(&self, erased.subscribe()),
            erased_in_nats: Vec::new(),
            rereads_erased: true,
            refused_before: RefusedBefore::default(),
            deps: self,
            connection: None,
            own_form_after: 0,
            seen: None,
            run: None,
            generation: 0,
            backoff: Backoff::default(),
            is_refused: false,
            stream: None,
            erased,
            answered: Answered::default(),
            asks_receipt: false,
            lease: lease::LEASE,
            max_rows: usize::MAX,
            may_be_stored: false,
            watches_rows: true,
            gaps: Vec::new(),
            messages_lost: 0,
            expired_before: None,
            rows_not_stored_at: None,
            rows_lost_at: None,
            noted_rows_lost_at: None,
            lacks_noted_rows: false,
        };
        while let Some(fence) = running.follow_until_leased(&mut gobchan).await {
            if let TermEnd::Stopped = running.write_while_leased(fence, &mut gobchan).await {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The machine's name, the process id, and a random part that makes it unique.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{host}/{}/{}", std::process::id(), random::hex::<3>())
}

/// Writing, while this process has the lease.
impl RunningWriter {
    /// Writes until this process loses or gives up the lease, or the service stops.
    async fn write_while_leased(
        &mut self,
        mut fence: Fence,
        gobchan: &mut mpsc::Receiver<EncodedRows>,
    ) -> TermEnd {
        let Some(run) = self.run else { return TermEnd::SteppedDown };
        tracing::info!(writer = self.name, after = run.after.seq, "this process writes now");
        if let Err(end) = self.find_refused_before(&mut fence, run.after).await {
            return end;
        }
        let mut watermark = run.after;
        let dead_letters = self.dead_letters.clone();
        let mut problems = self.deps.flow_state.problem.subscribe();
        let mut dead_streams = self.deps.dead_letters.created.subscribe();
        let mut waiting = Batch::default();
        loop {
            if self.deps.progress.is_misfit() {
                self.release_lease(&fence).await;
                return TermEnd::SteppedDown;
            }
            if waiting.is_empty() {
                let renewed = tokio::select! {
                    rows = gobchan.recv() => match rows {
                        Some(rows) => {
                            waiting.push_of(run, rows, &dead_letters);
                            Ok(())
                        }
                        None => {
                            self.release_lease(&fence).await;
                            return TermEnd::Stopped;
                        }
                    },
                    () = aligned_interval::next(RENEW_INTERVAL) => self.renew(&mut fence, watermark).await,
                    _ = problems.changed() => Ok(()),
                    // The stream of dead letters was recreated since the lease was taken: dead letters are lost.
                    _ = dead_streams.changed() => Err(TermEnd::SteppedDown),
                };
                if let Err(end) = renewed {
                    return end;
                }
                if self.has_problem() {
                    return TermEnd::SteppedDown;
                }
                continue;
            }
            while waiting.has_room()
                && let Ok(rows) = gobchan.try_recv()
            {
                waiting.push_of(run, rows, &dead_letters);
            }
            let batch = waiting.take();
            watermark = batch.through().unwrap_or(watermark);
            let mut committed = std::pin::pin!(self.commit(&mut fence, batch));
            // While this batch is written, the next one is collected and its dead letters are stored.
            let committed = loop {
                tokio::select! {
                    committed = &mut committed => break committed,
                    Some(rows) = gobchan.recv(), if waiting.has_room() => waiting.push_of(run, rows, &dead_letters),
                }
            };
            if let Err(end) = committed {
                return end;
            }
        }
    }

    async fn release_lease(&mut self, fence: &Fence) {
        let (Some(connection), Some(stream)) = (&self.connection, &self.stream) else { return };
        let key = self.key(stream);
        let given = lease::release_lease(&connection.inner.client, &key, fence);
        if let Ok(Err(error)) = timeout(Duration::from_secs(1), given).await {
            tracing::debug!(error = describe(&error), "can't release the lease; it will expire");
        }
    }

    /// The position that this process has committed last.
    pub(super) fn committed_watermark(&self) -> Watermark {
        let table = self.deps.flow_state.table.borrow().as_ref().map(|table| table.watermark);
        table.or(self.run.map(|run| run.after)).unwrap_or_default()
    }

    /// Renews the lease while the writer waits for NATS. The position stays at `watermark`.
    pub(super) async fn renewing<T>(
        &mut self,
        fence: &mut Fence,
        watermark: Watermark,
        waiting: impl Future<Output = T>,
    ) -> Result<T, TermEnd> {
        let give_up = self.deps.give_up.clone();
        let mut waiting = std::pin::pin!(waiting);
        loop {
            tokio::select! {
                done = &mut waiting => return Ok(done),
                () = give_up.cancelled() => return Err(TermEnd::Stopped),
                () = aligned_interval::next(RENEW_INTERVAL) => self.renew(fence, watermark).await?,
            }
        }
    }

    /// Whether this process can read the stream, or may be able to soon: it has just begun to, or NATS is slow. Otherwise
    /// another process shall take the lease.
    fn can_read(&self) -> bool {
        let intake = self.deps.health.state(Part::Intake);
        let is_late = OffsetDateTime::now_utc() - intake.since < INTAKE_GRACE;
        self.deps.health.is_up(Part::Nats) && (intake.up || is_late)
    }

    /// Renews the lease of an idle writer, as long as the stream can be read.
    async fn renew(&mut self, fence: &mut Fence, watermark: Watermark) -> Result<(), TermEnd> {
        if self.can_read() {
            return self.advance(fence, watermark).await;
        }
        match self.ping().await {
            Ok(()) => {
                self.deps.health.up(Part::Postgres);
                Ok(())
            }
            Err(reason) => Err(self.fail(CommitFailure::Away(reason)).await),
        }
    }

    async fn ping(&mut self) -> Result<(), String> {
        let asked = self.client()?.batch_execute("");
        self.with_short_timeout(asked).await?.map_err(|error| describe(&error))
    }
}
