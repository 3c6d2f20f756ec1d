//! Intake with many readers of `/events`, in turn with intake without readers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devstack::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::{REPETITIONS, procfs, repetition, stats};

const READERS: usize = 1000;

/// Time limit for the first event; events come at most once a second.
const SEEN: Duration = Duration::from_secs(30);

struct ReadersCost {
    rate: f64,
    /// CPU of the service per order, in µs.
    cpu: f64,
    /// Memory per reader, in KiB.
    memory: f64,
}

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    devstack::raise_file_limit()?;
    let (mut alone, mut crowded) = (Vec::new(), Vec::new());
    for number in 0..REPETITIONS {
        repetition("readers", number);
        alone.push(take_in(env, 0)?);
        crowded.push(take_in(env, READERS)?);
    }
    let of =
        |runs: &[ReadersCost], value: fn(&ReadersCost) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    let middle = |runs: &[ReadersCost], value| stats::median(&of(runs, value));
    let core = |runs: &[ReadersCost]| middle(runs, |run| run.cpu * run.rate / 1e4);
    let note = format!(
        "{} orders, from the first publish until all are committed; the publisher and the readers share the machine. \
         The service's CPU an order: {:.1} µs, {:.1} µs without readers; {:.1} KiB of its memory for each reader; \
         the service takes {:.0} % of a core, {:.0} % without readers",
        env.orders,
        middle(&crowded, |run| run.cpu),
        middle(&alone, |run| run.cpu),
        middle(&crowded, |run| run.memory),
        core(&crowded),
        core(&alone),
    );
    Ok(vec![Figure {
        bench: "readers",
        what: format!("intake while {READERS} read /events"),
        unit: "orders/s",
        ours: of(&crowded, |run| run.rate),
        limit: Some(("nobody reads".to_owned(), of(&alone, |run| run.rate))),
        goal: Goal::OfLimit(0.8),
        note,
    }])
}

fn take_in(env: &mut Environment, readers: usize) -> Result<ReadersCost> {
    let (count, table) = (env.orders, env.empty_table()?);
    let stream = env.name("READERS");
    let subject = format!("bench.{stream}");
    env.make_stream(&stream, &subject)?;
    env.settle(None)?;
    let setup = Setup {
        table: table.clone(),
        subject: subject.clone(),
        stream: stream.clone(),
        core: None,
        bound: None,
    };
    let service = Service::start(env, &setup)?;
    service.wait_ready()?;
    let before = procfs::resident(service.pid());
    let reading = env.runtime.block_on(ConnectedReaders::begin(service.addr, readers))?;
    let memory =
        procfs::resident(service.pid()).saturating_sub(before) as f64 / 1024.0 / readers.max(1) as f64;
    let (begun, cpu) = (Instant::now(), procfs::cpu(service.pid()));
    env.publish(&subject, count)?;
    service.wait_len(count)?;
    service.wait_written(count)?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = procfs::cpu(service.pid()).saturating_sub(cpu).as_secs_f64() * 1e6 / count as f64;
    let all = wait_for(SEEN, || reading.seen.load(Ordering::Relaxed) == readers);
    ensure!(all, "not all of {readers} readers have been told of an order");
    drop(reading);
    service.stop()?;
    env.remove_stream(&stream)?;
    env.settle(Some(&table))?;
    Ok(ReadersCost { rate: count as f64 / seconds, cpu, memory })
}

/// Connected readers; disconnected on drop.
struct ConnectedReaders {
    /// Number of readers that have received an order.
    seen: Arc<AtomicUsize>,
    _readers: JoinSet<()>,
}

impl ConnectedReaders {
    /// Returns when all readers are connected.
    async fn begin(addr: SocketAddr, count: usize) -> Result<Self> {
        let (seen, mut readers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..count {
            let mut stream = TcpStream::connect(addr).await?;
            stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await?;
            ensure!(head.ends_with(b"200"), "a reader is refused");
            readers.spawn(read(stream, seen.clone()));
        }
        Ok(Self { seen, _readers: readers })
    }
}

async fn read(mut stream: TcpStream, seen: Arc<AtomicUsize>) {
    let (mut buffer, mut is_told) = (vec![0; 16 << 10], false);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let told = !is_told && buffer[..count].windows(12).any(|part| part == b"event: order");
        if told {
            seen.fetch_add(1, Ordering::Relaxed);
            is_told = true;
        }
    }
}
