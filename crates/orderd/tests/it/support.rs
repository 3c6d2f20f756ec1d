//! A real PostgreSQL, a real NATS with JetStream and the real `orderd`, private to one test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use devstack::{Launch, Nats, NatsOptions, Postgres, PostgresOptions, Process, Signal, TempDir};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Time limit for a condition. Machines are shared; a correct test never waits that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// Pauses between two looks at a condition.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The default stream of dead letters: the name of the stream of orders plus `_DEAD`.
pub(crate) const DEAD: &str = "ORDERS_DEAD";

/// How often a client retries after a 503.
const ASKED_AGAIN: usize = 5;

/// Both servers, and the service once it is started.
pub(crate) struct Stack {
    pub(crate) postgres: Postgres,
    pub(crate) nats: Nats,
    pub(crate) temp_dir: TempDir,
    /// The `orderd` that is run.
    pub(crate) program: PathBuf,
}

/// A running `orderd serve`; killed when dropped.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
}

/// An answer of the service.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Stack {
    /// Both servers, without the service.
    pub(crate) fn new() -> Self {
        Self {
            postgres: Postgres::temporary(PostgresOptions::quick()).unwrap(),
            nats: Nats::temporary(NatsOptions::default()).unwrap(),
            temp_dir: TempDir::new().unwrap(),
            program: env!("CARGO_BIN_EXE_orderd").into(),
        }
    }

    /// Both servers and a service that is ready.
    pub(crate) async fn started() -> (Self, Service) {
        let stack = Self::new();
        let service = stack.serve(&[]).await;
        (stack, service)
    }

    /// The settings by which a command finds the servers.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let settings = [
            ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
            ("NATS_PORT", self.nats.port().to_string()),
            ("PG_PORT", self.postgres.port().to_string()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Starts the service and waits until it listens.
    pub(crate) async fn start(&self, env: &[(&str, &str)]) -> Service {
        self.start_with(&[], env).await
    }

    /// The same with flags.
    pub(crate) async fn start_with(&self, flags: &[&str], env: &[(&str, &str)]) -> Service {
        let mut launch = Launch::new("orderd", &self.program, self.temp_dir.path());
        launch.args = std::iter::once("serve").chain(flags.iter().copied()).map(Into::into).collect();
        launch.envs = self.env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        launch.envs.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        let log = format!("orderd-{}.log", uid());
        launch.log = Some(self.temp_dir.path().join(log));
        let process = Process::spawn(launch).unwrap();
        let addr = eventually("orderd listens", async || listening(&process.log())).await;
        Service { process, addr }
    }

    /// Starts the service and waits until it takes orders and has read the table.
    pub(crate) async fn serve(&self, env: &[(&str, &str)]) -> Service {
        let service = self.start(env).await;
        service.wait_ready().await;
        service
    }

    /// Runs a command of `orderd` to its end.
    pub(crate) async fn run(&self, args: &[&str], stdin: &str) -> std::process::Output {
        use tokio::io::AsyncWriteExt;
        let mut command = tokio::process::Command::new(&self.program);
        command.args(args).envs(self.env()).kill_on_drop(true);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = stdin.to_owned();
        // The command may stop reading early; its exit code shows that.
        tokio::spawn(async move { drop(input.write_all(text.as_bytes()).await) });
        child.wait_with_output().await.unwrap()
    }

    /// A client of the NATS server.
    pub(crate) async fn client(&self) -> async_nats::Client {
        let options = async_nats::ConnectOptions::new().connection_timeout(LIMIT);
        options.connect(self.nats.url()).await.unwrap()
    }

    /// JetStream on that server.
    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        let mut context = jetstream::new(self.client().await);
        context.set_timeout(LIMIT);
        context
    }

    /// The test's own connection to PostgreSQL, for locks and queries.
    pub(crate) async fn sql(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.postgres.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Waits until this number of orders is in the table and in each of these services, which then have the same pages.
    pub(crate) async fn wait_same(&self, services: &[Service], count: usize) {
        eventually(&format!("{count} rows"), async || (self.rows() == count).then_some(())).await;
        for service in services {
            service.wait_len(count as u64).await;
        }
        assert_eq!(services[0].ids().await, services[services.len() - 1].ids().await);
    }

    /// Waits until the table's position has passed the stream's message of this sequence.
    pub(crate) async fn wait_settled(&self, sequence: u64) {
        eventually("the position has passed it", async || (self.position() >= sequence).then_some(())).await;
    }

    /// The highest of the table's positions; 0 before the first.
    pub(crate) fn position(&self) -> u64 {
        let query = "SELECT coalesce(max(seq), 0) FROM public.orderd_position";
        self.postgres.psql(query).ok().and_then(|seq| seq.trim().parse().ok()).unwrap_or(0)
    }

    /// `orderd verify`, with these flags, finds nothing that differs.
    pub(crate) async fn verify(&self, service: &Service, flags: &[&str]) {
        let addr = service.addr.to_string();
        let output = self.run(&[&["verify", "--http-addr", &addr], flags].concat(), "").await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// Publishes orders of these numbers.
    pub(crate) async fn publish_numbers(&self, numbers: std::ops::Range<usize>) {
        self.publish(&numbers.map(|number| order(&format!("order-{number}"))).collect::<Vec<_>>()).await;
    }

    /// Publishes with JetStream; each is acknowledged by the server.
    pub(crate) async fn publish(&self, payloads: &[impl AsRef<[u8]>]) {
        let context = self.jetstream().await;
        for payload in payloads {
            let payload = Bytes::copy_from_slice(payload.as_ref());
            context.publish("TESTING", payload).await.unwrap().await.unwrap();
        }
    }

    /// Makes PostgreSQL refuse rows that contain a text, by a constraint `bad`, whatever the format of the rows.
    pub(crate) fn refuse_rows_with(&self, text: &str) {
        // `bytea` is shown in hex.
        let contains = format!("strpos(data::text, '{text}') + strpos(data::text, encode('{text}', 'hex'))");
        let constraint = format!("ALTER TABLE public.orders2 ADD CONSTRAINT bad CHECK ({contains} = 0)");
        self.postgres.psql(&constraint).unwrap();
    }

    /// The number of rows in the table.
    pub(crate) fn rows(&self) -> usize {
        self.postgres.psql("SELECT count(*) FROM public.orders2").unwrap().trim().parse().unwrap()
    }
}

fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("listening"))?;
    let (_, addr) = line.split_once("addr=").or_else(|| line.split_once(r#""addr":""#))?;
    addr.split('"').next()?.trim().parse().ok()
}

impl Service {
    pub(crate) async fn wait_ready(&self) {
        eventually("orderd is ready", async || {
            let report = self.get("/readyz").await;
            (report.status == StatusCode::OK && report.json()["fill"]["up"] == true).then_some(())
        })
        .await;
    }

    /// The response to a client that retries if PostgreSQL does not answer in time, as on a machine that stalls for
    /// some seconds.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        for _ in 0..ASKED_AGAIN {
            let answer = self.get_once(path).await;
            if !answer.body.starts_with("503 PostgreSQL can't be reached now") {
                return answer;
            }
        }
        self.get_once(path).await
    }

    /// The response to a single request.
    pub(crate) async fn get_once(&self, path: &str) -> Answer {
        self.send(Request::get(path)).await
    }

    /// Requests the erasure of an order.
    pub(crate) async fn erase(&self, id: &str, token: &str) -> hyper::StatusCode {
        let bearer = format!("Bearer {token}");
        self.send(Request::delete(format!("/order/{id}")).header("authorization", bearer)).await.status
    }

    pub(crate) async fn send(&self, request: hyper::http::request::Builder) -> Answer {
        self.send_body(request, "").await
    }

    pub(crate) async fn send_body(&self, request: hyper::http::request::Builder, body: &str) -> Answer {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let request =
            request.header("host", "localhost").body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: String::from_utf8(body.into()).unwrap() }
    }

    /// The bytes of memory that it has now.
    pub(crate) fn memory(&self) -> usize {
        self.status("VmRSS:").trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Time slices of its threads of that name in nanoseconds, if Linux reports them.
    pub(crate) fn turns(&self, thread: &str) -> Vec<Option<u64>> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.pid())).unwrap();
        let paths = tasks.map(|task| task.unwrap().path());
        let named = paths
            .filter(|path| std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim() == thread);
        let turn = |text: String| {
            let line = text.lines().find(|line| line.starts_with("se.slice"))?.to_owned();
            line.split(':').nth(1)?.trim().parse().ok()
        };
        named.map(|path| std::fs::read_to_string(path.join("sched")).ok().and_then(turn)).collect()
    }

    /// A value from the process's `/proc` status.
    pub(crate) fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    pub(crate) async fn mem_len(&self) -> u64 {
        self.get("/mem_len").await.json()["mem_len"].as_u64().unwrap()
    }

    /// Waits until this number of orders is in memory.
    pub(crate) async fn wait_len(&self, count: u64) {
        eventually(&format!("{count} orders are in memory"), async || {
            (self.mem_len().await == count).then_some(())
        })
        .await;
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").await.body;
        let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// All ids, page by page.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for page in 1.. {
            let answer = self.get(&format!("/order_pages/{page}")).await;
            if answer.status == StatusCode::NOT_FOUND {
                break;
            }
            ids.extend(answer.json().as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
        }
        ids
    }

    /// Stops it with SIGTERM; returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.process.end(Signal::TERM).and_then(|status| status.code())
    }

    pub(crate) fn kill(&mut self) {
        self.process.end(Signal::KILL);
    }
}

/// Waits for an event that must happen.
pub(crate) async fn in_time<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LIMIT, awaited).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {} s", LIMIT.as_secs()))
}

/// One of three attempts must succeed. For conditions on seconds, which a stalled machine misses.
pub(crate) async fn in_three_tries(mut attempt: impl AsyncFnMut() -> Result<(), String>) {
    let mut failures = Vec::new();
    while failures.len() < 3 {
        match attempt().await {
            Ok(()) => return,
            Err(failure) => failures.push(failure),
        }
    }
    panic!("{}", failures.join("; "));
}

/// Waits until `condition` returns a value.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(met) = condition().await {
            return met;
        }
        let waited = begun.elapsed();
        assert!(waited < LIMIT, "{what}: not within {} s", LIMIT.as_secs());
        // What takes long is asked for seldom: each look may start a process and a session of PostgreSQL.
        tokio::time::sleep((waited / 10).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    }
}

/// A number that no other call in this process gives.
pub(crate) fn uid() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// The sample of the model that is built in.
pub(crate) fn sample() -> String {
    SAMPLE.clone()
}

/// Made once: tests publish tens of thousands, and a model costs a millisecond.
static SAMPLE: LazyLock<String> = LazyLock::new(|| model::Model::order().unwrap().sample);

/// The sample order with a unique number.
pub(crate) fn order(uid: &str) -> String {
    /// What stands before its number, and behind.
    static PARTS: LazyLock<(String, String)> = LazyLock::new(|| {
        let mut order: Value = serde_json::from_str(&SAMPLE).unwrap();
        order["order_uid"] = "UID".into();
        let order = order.to_string();
        let (before, behind) = order.split_once("\"UID\"").unwrap();
        (before.to_owned(), behind.to_owned())
    });
    let (before, behind) = &*PARTS;
    format!("{before}{}{behind}", Value::from(uid))
}

/// This number of orders, each with a unique number.
pub(crate) fn orders(count: usize) -> Vec<String> {
    (0..count).map(|number| order(&format!("order-{number}"))).collect()
}
