//! Clusters of NATS and PostgreSQL: no acknowledged order is lost with a server, and the intake continues.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};
use devstack::breaker::{Breaker, Mode};
use devstack::{NatsCluster, Postgres};
use tokio::task::JoinHandle;

use crate::support::{DEAD, Service, Stack, eventually, in_three_tries, order, orders};

/// Time limit for the intake to continue with a new leader.
const RESUMED: Duration = Duration::from_secs(10);

/// Publishes orders one by one, each until it is acknowledged.
struct Load {
    acknowledged: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(context: Context) -> Self {
        let (acknowledged, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (acknowledged.clone(), over.clone());
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let uid = format!("order-{}", count.load(Ordering::Relaxed));
                publish(&context, &uid).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { acknowledged, over, task }
    }

    /// Waits until this number of further orders is acknowledged.
    async fn more(&self, count: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + count;
        eventually("more are acknowledged", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// With one message id, so that retries are one order.
async fn publish(context: &Context, uid: &str) {
    loop {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", uid);
        let sent = context.publish_with_headers("TESTING", headers, order(uid).into()).await;
        if let Ok(sent) = sent
            && sent.await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn context(urls: &str) -> Context {
    let servers: Vec<async_nats::ServerAddr> = urls.split(',').map(|url| url.parse().unwrap()).collect();
    let options = async_nats::ConnectOptions::new().ping_interval(Duration::from_secs(1));
    let mut context = jetstream::new(options.connect(servers).await.unwrap());
    context.set_timeout(Duration::from_secs(2));
    context
}

/// A service on a cluster of three, with its stream on all of them.
async fn on_cluster(stack: &Stack) -> (NatsCluster, Context, Service) {
    let cluster = NatsCluster::temporary(3).unwrap();
    let urls = cluster.urls();
    let service = stack.serve(&[("NATS_URL", &urls), ("NATS_REPLICAS", "3")]).await;
    let context = context(&urls).await;
    for name in ["ORDERS", DEAD] {
        let stream = eventually("the stream answers", async || context.get_stream(name).await.ok()).await;
        assert_eq!(stream.cached_info().config.num_replicas, 3);
    }
    (cluster, context, service)
}

/// The node that leads the stream, if it is not this one.
async fn leader(context: &Context, cluster: &NatsCluster, other_than: Option<usize>) -> usize {
    eventually("the stream has a leader", async || {
        let info = context.get_stream("ORDERS").await.ok()?.cached_info().clone();
        cluster.index_of(&info.cluster?.leader?).filter(|&index| Some(index) != other_than)
    })
    .await
}

/// Waits until the table grows; returns the time.
async fn wait_resumed(stack: &Stack) -> Duration {
    let (begun, rows) = (Instant::now(), stack.rows());
    eventually("the intake continues", async || (stack.rows() > rows).then_some(())).await;
    begun.elapsed()
}

/// Nothing is lost in any round, and in one of up to three rounds the intake continues in time after each fault.
async fn resumes_in_time(mut round: impl AsyncFnMut() -> Vec<Duration>) {
    in_three_tries(async || {
        let took = round().await;
        let in_time = took.iter().all(|took| *took < RESUMED);
        in_time.then_some(()).ok_or(format!("the intake went on after {took:?}"))
    })
    .await;
}

/// All that was acknowledged is in the table, once, and in memory.
async fn wait_all(stack: &Stack, service: &Service, load: Load) {
    let acknowledged = load.end().await;
    eventually(&format!("{acknowledged} rows"), async || (stack.rows() >= acknowledged).then_some(())).await;
    service.wait_len(acknowledged as u64).await;
    assert_eq!(stack.rows(), acknowledged);
    let last = format!("/orders?order_uid=order-{}", acknowledged - 1);
    assert_eq!(service.get(&last).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_the_stream_is_killed_and_cut_off() {
    resumes_in_time(strike_leaders).await;
}

async fn strike_leaders() -> Vec<Duration> {
    let mut took = Vec::new();
    let stack = Stack::new();
    let (mut cluster, context, service) = on_cluster(&stack).await;
    let load = Load::start(context.clone());
    load.more(200).await;
    let killed = leader(&context, &cluster, None).await;
    cluster.nodes[killed].kill();
    let cut_off = leader(&context, &cluster, Some(killed)).await;
    took.push(wait_resumed(&stack).await);
    load.more(200).await;
    cluster.nodes[killed].start_again().unwrap();
    // It does not answer, and all connections to it stay open.
    cluster.nodes[cut_off].pause();
    leader(&context, &cluster, Some(cut_off)).await;
    took.push(wait_resumed(&stack).await);
    load.more(200).await;
    cluster.nodes[cut_off].resume();
    wait_all(&stack, &service, load).await;
    took
}

/// A service on PostgreSQL with a synchronous standby.
async fn on_standby(stack: &Stack) -> (Postgres, Service) {
    let standby = stack.postgres.standby().unwrap();
    stack.postgres.wait_for_standby().unwrap();
    let hosts = [&stack.postgres, &standby].map(|it| format!("127.0.0.1:{}", it.port())).join(",");
    let url = format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write");
    let service = stack.serve(&[("DATABASE_URL", &url)]).await;
    (standby, service)
}

/// The standby answers first, and takes no writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_named_first_is_passed_over_by_serve_and_every_command() {
    let stack = Stack::new();
    let standby = stack.postgres.standby().unwrap();
    stack.postgres.wait_for_standby().unwrap();
    let to = |hosts: &str| format!("postgresql://postgres@{hosts}/demo1");
    let (first, second) = (standby.port(), stack.postgres.port());
    let both = to(&format!("127.0.0.1:{first},127.0.0.1:{second}"));
    let run = async |args: &[&str], url: &str, input: &str| {
        let output = stack.run(&[args, &["--database-url", url]].concat(), input).await;
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let line = format!("{{\"id\":\"1\",\"order\":{}}}", order("imported"));
    for _ in 0..3 {
        let (code, words) = run(&["check", "--settings"], &both, "").await;
        assert_eq!(code, Some(0), "{words}");
        assert!(
            words.contains("all is well") && words.contains(&format!("at 127.0.0.1:{second}")),
            "{words}"
        );
        let (code, words) = run(&["import"], &both, &line).await;
        assert_eq!(code, Some(0), "{words}");
    }
    let service = stack.serve(&[("DATABASE_URL", &both)]).await;
    stack.publish(&orders(3)).await;
    service.wait_len(4).await;
    stack.wait_settled(3).await;
    let address = service.addr.to_string();
    for args in
        [&["export"][..], &["verify", "--http-addr", &address], &["erase", "1", "--yes"], &["model", "check"]]
    {
        let (code, words) = run(args, &both, "").await;
        assert_eq!(code, Some(0), "{args:?}: {words}");
    }
    // What the string says counts: libpq's `any` is there for reading.
    let (code, words) = run(&["export"], &to(&format!("127.0.0.1:{first},127.0.0.1:1")), "").await;
    assert!(code == Some(1) && words.contains("target_session_attrs=any"), "{words}");
    let any = format!("{both}?target_session_attrs=any");
    let (code, words) = run(&["import"], &any, &line.replace("\"1\"", "\"2\"")).await;
    assert!(code == Some(1) && words.contains("read-only"), "{words}");
    for url in [any, to(&format!("127.0.0.1:{first}"))] {
        let (code, words) = run(&["export"], &url, "").await;
        assert!(code == Some(0) && words.lines().count() > 2, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_promoted_when_its_primary_is_killed() {
    resumes_in_time(kill_primary).await;
}

async fn kill_primary() -> Vec<Duration> {
    let mut took = Vec::new();
    let mut stack = Stack::new();
    let (standby, service) = on_standby(&stack).await;
    let load = Load::start(context(&stack.nats.url()).await);
    load.more(200).await;
    stack.postgres.kill();
    load.more(50).await;
    standby.promote().unwrap();
    stack.postgres = standby;
    took.push(wait_resumed(&stack).await);
    load.more(200).await;
    wait_all(&stack, &service, load).await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_promoted_when_its_primary_answers_nothing() {
    resumes_in_time(stop_primary).await;
}

async fn stop_primary() -> Vec<Duration> {
    let mut took = Vec::new();
    let mut stack = Stack::new();
    let (standby, service) = on_standby(&stack).await;
    let load = Load::start(context(&stack.nats.url()).await);
    load.more(200).await;
    // All connections to it stay open.
    stack.postgres.pause();
    load.more(50).await;
    standby.promote().unwrap();
    let stopped = std::mem::replace(&mut stack.postgres, standby);
    took.push(wait_resumed(&stack).await);
    load.more(200).await;
    eventually("a read that memory can't answer is answered", async || {
        (service.get("/order/unknown").await.status == hyper::StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    wait_all(&stack, &service, load).await;
    drop(stopped);
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_read_on_where_its_server_is_cut_off_in_the_middle() {
    let (stack, mut first) = Stack::started().await;
    stack.publish(&orders(2000)).await;
    eventually("all rows are committed", async || (stack.rows() == 2000).then_some(())).await;
    first.stop();
    let upstream = (Ipv4Addr::LOCALHOST, stack.postgres.port()).into();
    let [one, other] = [(); 2].map(|()| Breaker::start(upstream).unwrap());
    one.set(Mode::Slow { bytes_per_second: 100_000 });
    other.set(Mode::Refused);
    let hosts = [&one, &other].map(|it| it.addr().to_string()).join(",");
    let url = format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write");
    let service = stack.start(&[("DATABASE_URL", &url)]).await;
    eventually("some rows are read", async || (service.mem_len().await > 0).then_some(())).await;
    // All connections to it stay open.
    one.set(Mode::BlackHole);
    other.set(Mode::Pass);
    assert!(service.mem_len().await < 2000, "nothing was left to read");
    service.wait_len(2000).await;
    // Erasures meanwhile are also looked up there.
    let id = service.ids().await.pop().unwrap();
    assert!(stack.run(&["erase", "--yes", &id], "").await.status.success());
    let path = format!("/order/{id}");
    eventually("it is erased", async || {
        (service.get(&path).await.status == hyper::StatusCode::NOT_FOUND).then_some(())
    })
    .await;
}

/// Each of several servers has a short timeout, because the first may be down. On a slow network, all of them need
/// more.
#[tokio::test(flavor = "multi_thread")]
async fn several_servers_behind_a_slow_network_are_reached() {
    let stack = Stack::new();
    let upstream = (Ipv4Addr::LOCALHOST, stack.postgres.port()).into();
    let far = [(); 2].map(|()| Breaker::start(upstream).unwrap());
    far.iter().for_each(|it| it.set(Mode::Late(Duration::from_millis(2200))));
    let hosts = far.iter().map(|it| it.addr().to_string()).collect::<Vec<_>>().join(",");
    let url = format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write");
    let service = stack.serve(&[("DATABASE_URL", &url)]).await;
    stack.publish(&orders(10)).await;
    service.wait_len(10).await;
    eventually("all rows are committed", async || (stack.rows() == 10).then_some(())).await;
    eventually("a read that memory can't answer is answered", async || {
        (service.get("/order/unknown").await.status == hyper::StatusCode::NOT_FOUND).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_restarted_one_after_the_other() {
    resumes_in_time(restart_everything).await;
}

async fn restart_everything() -> Vec<Duration> {
    let mut took = Vec::new();
    let mut stack = Stack::new();
    let mut standby = stack.postgres.standby().unwrap();
    stack.postgres.wait_for_standby().unwrap();
    let mut cluster = NatsCluster::temporary(3).unwrap();
    let (urls, hosts) =
        (cluster.urls(), [&stack.postgres, &standby].map(|it| format!("127.0.0.1:{}", it.port())).join(","));
    let url = format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write");
    let env = [("NATS_URL", &*urls), ("NATS_REPLICAS", "3"), ("DATABASE_URL", &*url)];
    let mut services = [stack.serve(&env).await, stack.serve(&env).await];
    let context = context(&urls).await;
    let load = Load::start(context.clone());
    load.more(100).await;
    for service in &mut services {
        assert_eq!(service.stop(), Some(0));
        *service = stack.serve(&env).await;
        load.more(50).await;
    }
    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].stop();
        leader(&context, &cluster, Some(node)).await;
        took.push(wait_resumed(&stack).await);
        cluster.nodes[node].start_again().unwrap();
        // It must have caught up before the next one ends.
        eventually("all nodes have the stream", async || {
            let cluster = context.get_stream("ORDERS").await.ok()?.cached_info().cluster.clone()?;
            cluster.replicas.iter().all(|replica| replica.current && !replica.offline).then_some(())
        })
        .await;
    }
    standby.stop();
    standby.start_again().unwrap();
    took.push(wait_resumed(&stack).await);
    stack.postgres.stop();
    stack.postgres.start_again().unwrap();
    took.push(wait_resumed(&stack).await);
    let acknowledged = load.end().await;
    for service in &services {
        service.wait_len(acknowledged as u64).await;
    }
    // An order is served a moment before its row is committed.
    stack.wait_same(&services, acknowledged).await;
    took
}
