//! Creates every channel and spawns every stage of the flow, in its order. `lib.rs` spawns the tasks around it.
//!
//! ```text
//! table_reader, resolver ── initmemchan ─────────────────────────────────────────────┐
//!                                                                                    ├─ fan_in ── memwritechan ── cache ── feed
//!                                                                       ┌─ memchan ──┘
//! fetch ── natschan ── filter ── msgdatachan ── decode ── orderschan ── fan_out
//!                                                                       └─ encodechan ── encode ── gobchan ── writer
//! ```

pub(crate) mod supervisor;

use std::sync::Arc;

use async_nats::Client;
use cache::{Cache, MemoryBudget};
use order::{Layouts, Parser};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::dead_letters::counter::DeadLetterCounter;
use crate::dead_letters::store::DeadLetterStore;
use crate::erasure::{Eraser, Sweeper};
use crate::events::live_feed::Feed;
use crate::events::stats::Stats;
use crate::fill::doubt_resolver::Resolver;
use crate::fill::table_reader::TableReader;
use crate::fill::{cache_writer, fan_in};
use crate::fill_progress::FillProgress;
use crate::flow_state::FlowState;
use crate::health::{Health, Part};
use crate::ingest::decode::Decode;
use crate::ingest::fetch::Fetch;
use crate::ingest::source::connection::IntakeClient;
use crate::ingest::{fan_out, filter};
use crate::metrics::Metrics;
use crate::nats::client_end::ClientEnd;
use crate::nats::{self, ConnectionEvent};
use crate::orders_in_doubt::OrdersInDoubt;
use crate::persist::encode;
use crate::persist::writer::Writer;
use crate::pipeline::supervisor::{Stage, Supervisor};
use crate::receipts::Receipts;
use crate::retention::expiry::Expiry;
use crate::retention::stream_purge::StreamPurge;
use crate::traces::Traces;

/// Capacity of each channel in chunks. A chunk has 256 messages or 1 MiB, so all channels together hold at most some
/// tens of MiB.
const CHANNEL_CHUNKS: usize = 4;

/// The shared context of all stages.
pub(crate) struct Context {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) client_end: ClientEnd,
    pub(crate) layouts: Arc<Layouts>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) progress: Arc<FillProgress>,
    pub(crate) flow_state: Arc<FlowState>,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    /// `None` where nothing is traced.
    pub(crate) traces: Option<Arc<Traces>>,
    /// Stops the sources; messages in flight are finished.
    pub(crate) stop: CancellationToken,
    /// Abandon unfinished work.
    pub(crate) give_up: CancellationToken,
}

impl Context {
    /// Makes them; nothing runs yet.
    ///
    /// # Errors
    /// A setting that doesn't fit the model, or one by which NATS can't be reached.
    pub(crate) async fn new(settings: Settings) -> anyhow::Result<Self> {
        let settings = Arc::new(settings);
        let traces = Traces::start(&settings)?;
        let metrics = Metrics::new()?;
        let health = Health::new(metrics.clone());
        let layouts = Arc::new(Layouts::new(settings.model.shape())?);
        let search = settings.search_paths.clone();
        let bound = settings.cache_max_bytes.map(|max| MemoryBudget::new(max, metrics.evictions.clone()));
        let client_end = ClientEnd::default();
        let client = nats::connect(&settings.nats, shown_in(health.clone()), &client_end).await?;
        let cache = Cache::new(layouts.clone(), search.clone(), bound);
        Ok(Self {
            dead_letters: Arc::new(DeadLetterStore::new(client.clone(), &settings.nats)),
            receipts: Arc::new(Receipts::new(client.clone(), cache.clone(), &settings, &metrics)),
            client,
            client_end,
            feed: Feed::new(layouts.clone(), &settings.search, &search, settings.event_readers),
            cache,
            progress: Arc::default(),
            flow_state: Arc::default(),
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            settings,
            layouts,
            health,
            metrics,
            traces,
        })
    }
}

/// Shows the state of the connection to NATS in `/readyz`.
fn shown_in(health: Arc<Health>) -> impl Fn(ConnectionEvent) + Send + Sync + 'static {
    move |event| match event {
        ConnectionEvent::Connected => health.up(Part::Nats),
        ConnectionEvent::Disconnected => {
            health.down(Part::Nats, "the connection to NATS was lost; connecting again");
        }
        ConnectionEvent::Failed(reason) => health.explain(Part::Nats, reason),
    }
}

/// Starts all stages. Shutdown stops `fetch` and `table_reader`; each other stage ends when its input closes.
pub(crate) fn start(context: &Context, parser: Parser, depths: &ChannelDepths) -> Supervisor {
    let Context { settings, client, layouts, cache, feed, progress, flow_state, health, .. } = context;
    let Context { dead_letters, receipts, metrics, traces, stop, give_up, .. } = context;
    let in_doubt = OrdersInDoubt::default();

    let (natschan, natschan_out) = depths.channel("natschan", CHANNEL_CHUNKS);
    let (msgdatachan, msgdatachan_out) = depths.channel("msgdatachan", CHANNEL_CHUNKS);
    let (orderschan, orderschan_out) = depths.channel("orderschan", CHANNEL_CHUNKS);
    let (memchan, memchan_out) = depths.channel("memchan", CHANNEL_CHUNKS);
    let (encodechan, encodechan_out) = depths.channel("encodechan", CHANNEL_CHUNKS);
    let (gobchan, gobchan_out) = depths.channel("gobchan", CHANNEL_CHUNKS);
    let (initmemchan, initmemchan_out) = depths.channel("initmemchan", CHANNEL_CHUNKS);
    let (memwritechan, memwritechan_out) = depths.channel("memwritechan", CHANNEL_CHUNKS);

    let fetch = Fetch {
        settings: settings.clone(),
        client: client.clone(),
        dead_letters: dead_letters.clone(),
        intake_client: IntakeClient::default(),
        flow_state: flow_state.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        stop: stop.clone(),
    };
    let decode = Decode {
        parser,
        cache: cache.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        in_doubt: in_doubt.clone(),
    };
    let writer = Writer {
        settings: settings.clone(),
        flow_state: flow_state.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        dead_letters: dead_letters.clone(),
        receipts: receipts.clone(),
        cache: cache.clone(),
        progress: progress.clone(),
        in_doubt: in_doubt.clone(),
        traces: traces.clone(),
        stop: stop.clone(),
        give_up: give_up.clone(),
    };
    let table_reader = TableReader {
        settings: settings.postgres.clone(),
        cache: cache.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        progress: progress.clone(),
        every: settings.refill_every,
        stop: stop.clone(),
    };
    let resolver = Resolver {
        settings: settings.clone(),
        dead_letters: dead_letters.clone(),
        flow_state: flow_state.clone(),
        in_doubt: in_doubt.clone(),
        cache: cache.clone(),
        metrics: metrics.clone(),
        stop: stop.clone(),
    };
    let stream_purge = StreamPurge {
        settings: settings.clone(),
        client: client.clone(),
        dead_letters: dead_letters.clone(),
        flow_state: flow_state.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        stop: stop.clone(),
    };

    let mut stages = Supervisor::default();
    let mut stage = |name, run: Stage| stages.spawn(name, run, give_up.clone());

    stage("fetch", Box::pin(fetch.run(natschan)));
    let filter = filter::run(natschan_out, msgdatachan, dead_letters.clone(), in_doubt, metrics.clone());
    stage("filter", Box::pin(filter));
    stage("decode", Box::pin(decode.run(msgdatachan_out, orderschan)));
    stage("fan_out", Box::pin(fan_out::run(orderschan_out, memchan, encodechan)));

    stage("encode", Box::pin(encode::run(encodechan_out, gobchan, layouts.clone())));
    stage("writer", Box::pin(writer.run(gobchan_out)));

    stage("table_reader", Box::pin(table_reader.run(initmemchan.clone())));
    stage("resolver", Box::pin(resolver.run(initmemchan)));
    stage("fan_in", Box::pin(fan_in::run(initmemchan_out, memchan_out, memwritechan, cache.entry_builder())));
    let (writing, showing) = (cache.clone(), feed.clone());
    stage("cache", Box::pin(async move { cache_writer::run(&writing, &showing, memwritechan_out).await }));
    let stats = Stats::new(cache.clone(), metrics.clone(), health.clone(), progress.clone());
    stage("feed", Box::pin(feed.clone().run(stats, stop.clone())));

    let counter = DeadLetterCounter {
        store: dead_letters.clone(),
        health: health.clone(),
        metrics: metrics.clone(),
        stop: stop.clone(),
    };
    stage("dead_letters_waiting", Box::pin(counter.run()));
    stage("stream_purge", Box::pin(stream_purge.run()));
    if let Some(keep) = settings.keep {
        let expiry = Expiry {
            settings: settings.clone(),
            client: client.clone(),
            dead_letters: dead_letters.clone(),
            flow_state: flow_state.clone(),
            cache: cache.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        stage("expiry", Box::pin(expiry.run(keep)));
    }
    let eraser =
        Eraser { postgres: settings.postgres.clone(), nats: settings.nats.clone(), client: client.clone() };
    stage("erase", Box::pin(Sweeper::new(eraser, cache.clone()).run(stop.clone())));
    stages
}

/// The depth of each channel, read when metrics are scraped.
#[derive(Default)]
pub(crate) struct ChannelDepths {
    channels: std::sync::Mutex<Vec<(&'static str, Depth)>>,
}

type Depth = Box<dyn Fn() -> usize + Send>;

impl ChannelDepths {
    fn channel<T: Send + 'static>(
        &self,
        name: &'static str,
        size: usize,
    ) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
        let (sender, receiver) = mpsc::channel(size);
        // Weak: a channel closes when its senders are gone, and this must not keep it open.
        let weak = sender.downgrade();
        let depth = move || weak.upgrade().map_or(0, |sender| sender.max_capacity() - sender.capacity());
        let mut channels = self.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        channels.push((name, Box::new(depth)));
        (sender, receiver)
    }

    /// Sets the gauge of each channel.
    pub(crate) fn set_gauges(&self, metrics: &Metrics) {
        for (name, depth) in &*self.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            metrics.depth.with_label_values(&[*name]).set(depth() as i64);
        }
    }
}
