//! Rolling restart of three processes behind a load balancer: no request fails, no order is lost.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use devstack::{Launch, Process, Signal, free_port, tools};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Answer, LIMIT, Service, Stack, eventually, order, orders};

/// Number of concurrent clients.
const CLIENTS: usize = 6;

/// The number of orders before the restarts.
const BEFORE: usize = 20;

const TOKEN: &str = "read-with-this-token";

type Answered<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Sender = SendRequest<Empty<Bytes>>;

async fn connect(addr: SocketAddr) -> Answered<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(addr).await?)).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Sends one request, with a session's cookie if there is one, and returns the connection if it can be reused.
async fn ask(
    mut sender: Sender,
    path: &str,
    cookie: Option<&HeaderValue>,
) -> Answered<(StatusCode, Bytes, Option<Sender>)> {
    let mut request = Request::get(path).header("host", "localhost").body(Empty::new())?;
    request.headers_mut().extend(cookie.map(|cookie| (header::COOKIE, cookie.clone())));
    let answer = sender.send_request(request).await?;
    let (status, closes) = (answer.status(), answer.headers().get("connection").is_some());
    let body = answer.into_body().collect().await?.to_bytes();
    let kept = if closes { None } else { sender.ready().await.is_ok().then_some(sender) };
    Ok((status, body, kept))
}

/// One process, as the balancer knows it.
struct Backend {
    addr: SocketAddr,
    is_ready: AtomicBool,
    kept: Mutex<Vec<Sender>>,
}

/// Checks one path of each process and keeps connections open. It never retries, so that each failure is seen.
struct Balancer {
    addr: SocketAddr,
    backends: Arc<Vec<Backend>>,
}

impl Balancer {
    async fn start(addrs: &[SocketAddr], checked: &'static str) -> Self {
        let backend =
            |&addr| Backend { addr, is_ready: AtomicBool::new(false), kept: Mutex::new(Vec::new()) };
        let backends: Arc<Vec<_>> = Arc::new(addrs.iter().map(backend).collect());
        for number in 0..addrs.len() {
            let backends = backends.clone();
            tokio::spawn(async move {
                loop {
                    let asked = async { ask(connect(backends[number].addr).await?, checked, None).await };
                    let is_ready = asked.await.is_ok_and(|(status, ..)| status == StatusCode::OK);
                    backends[number].is_ready.store(is_ready, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let balancer = Self { addr: listener.local_addr().unwrap(), backends };
        tokio::spawn(accept(listener, balancer.backends.clone()));
        balancer
    }

    async fn wait_ready(&self) {
        let are_ready = || self.backends.iter().all(|backend| backend.is_ready.load(Ordering::Relaxed));
        eventually("the balancer sends to all", async || are_ready().then_some(())).await;
    }
}

async fn accept(listener: TcpListener, backends: Arc<Vec<Backend>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let backends = backends.clone();
        let pass = service_fn(move |request: Request<Incoming>| {
            let backends = backends.clone();
            async move { Ok::<_, Infallible>(pass(&backends, &request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass);
        tokio::spawn(async move { drop(served.await) });
    }
}

async fn pass(backends: &[Backend], request: &Request<Incoming>) -> Response<Full<Bytes>> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let ready: Vec<_> = backends.iter().filter(|backend| backend.is_ready.load(Ordering::Relaxed)).collect();
    let passed = async {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let backend = ready.get(turn % ready.len().max(1)).ok_or("no process is ready")?;
        let kept = backend.kept.lock().unwrap().pop().filter(|sender| !sender.is_closed());
        let sender = match kept {
            Some(sender) => sender,
            None => connect(backend.addr).await?,
        };
        let path = request.uri().path_and_query().ok_or("a request without a path")?.as_str();
        let (status, body, kept) = ask(sender, path, request.headers().get(header::COOKIE)).await?;
        backend.kept.lock().unwrap().extend(kept);
        Answered::Ok((status, body))
    };
    let (status, body) = passed.await.unwrap_or_else(|error| {
        (StatusCode::BAD_GATEWAY, Bytes::from(format!("{error}: {:?}", std::error::Error::source(&*error))))
    });
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
}

/// Clients that continuously request orders and lists of them.
struct Load {
    asked: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(addr: SocketAddr, fleet: &Fleet) -> Self {
        let listed = fleet.get(&fleet.services[0], "/order_pages/1").await.json();
        let single = listed.as_array().unwrap().iter().map(|id| format!("/order/{}", id.as_str().unwrap()));
        let lists = [
            "/order_pages/1",
            "/orders?limit=20",
            "/orders?order_uid=order-7&full=true",
            "/order?order_uid=order-3",
        ];
        let paths: Arc<[String]> =
            single.flat_map(|path| [path].into_iter().chain(lists.map(str::to_owned))).collect();
        let mut load =
            Self { asked: Arc::default(), failed: Arc::default(), ends: Arc::default(), clients: Vec::new() };
        for client in 0..CLIENTS {
            let (asked, failed) = (load.asked.clone(), load.failed.clone());
            let (ends, paths, cookie) = (load.ends.clone(), paths.clone(), fleet.cookie.clone());
            load.clients.push(tokio::spawn(async move {
                let mut kept = None;
                for number in client.. {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let path = &paths[number % paths.len()];
                    let answered = async {
                        let sender = match kept.take() {
                            Some(sender) => sender,
                            None => connect(addr).await?,
                        };
                        ask(sender, path, cookie.as_ref()).await
                    };
                    match answered.await {
                        Ok((StatusCode::OK, _, sender)) => kept = sender,
                        Ok((status, body, _)) => {
                            failed.lock().unwrap().push(format!("{path}: {status}: {body:?}"))
                        }
                        Err(error) => failed.lock().unwrap().push(format!("{path}: {error}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }));
        }
        load
    }

    async fn end_without_failure(self) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        let (asked, failed) = (self.asked.load(Ordering::Relaxed), self.failed.lock().unwrap());
        assert!(failed.is_empty(), "{} of {asked} requests failed: {:?}", failed.len(), &failed[..1]);
        assert!(asked > 300, "{asked}");
    }
}

/// Three processes at addresses that stay theirs.
struct Fleet {
    stack: Stack,
    services: Vec<Service>,
    delay: &'static str,
    /// Where reading needs one.
    token: Option<&'static str>,
    /// The cookie of a session that was opened with the token.
    cookie: Option<HeaderValue>,
}

impl Fleet {
    async fn start(delay: &'static str, token: Option<&'static str>) -> Self {
        let mut fleet = Self { stack: Stack::new(), services: Vec::new(), delay, token, cookie: None };
        for _ in 0..3 {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let service = fleet.serve(addr).await;
            fleet.services.push(service);
        }
        if let Some(token) = token {
            let form = Request::post("/session").header("content-type", "application/x-www-form-urlencoded");
            let opened = fleet.services[0].send_body(form, &format!("token={token}")).await;
            let cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
            fleet.cookie = Some(cookie.try_into().unwrap());
        }
        fleet.stack.publish(&orders(BEFORE)).await;
        fleet.wait_same(BEFORE).await;
        fleet
    }

    async fn serve(&self, addr: SocketAddr) -> Service {
        let addr = addr.to_string();
        let mut settings = vec![("HTTP_ADDR", addr.as_str()), ("SHUTDOWN_DELAY", self.delay)];
        settings.extend(self.token.map(|token| ("HTTP_TOKEN", token)));
        self.stack.serve(&settings).await
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        self.services.iter().map(|service| service.addr).collect()
    }

    /// The response of one process to a request that is signed in.
    async fn get(&self, service: &Service, path: &str) -> Answer {
        let cookie = self.cookie.iter();
        service
            .send(cookie.fold(Request::get(path), |request, cookie| request.header("cookie", cookie)))
            .await
    }

    /// Waits until this number of orders is in the table and in each process; all list the same.
    async fn wait_same(&self, count: usize) {
        eventually(&format!("{count} rows"), async || (self.stack.rows() == count).then_some(())).await;
        let mut lists = Vec::new();
        for service in &self.services {
            eventually(&format!("{count} orders are in memory"), async || {
                (self.get(service, "/mem_len").await.json()["mem_len"] == count).then_some(())
            })
            .await;
            lists.push(self.get(service, "/orders?limit=1000").await.body);
        }
        assert!(lists.iter().all(|list| *list == lists[0]));
    }

    async fn restart(&mut self, number: usize) {
        let service = &mut self.services[number];
        service.process.signal(Signal::TERM);
        let status = service.process.wait(LIMIT);
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", service.process.log());
        let addr = service.addr;
        self.services[number] = self.serve(addr).await;
    }

    /// Publishes while each is restarted in turn; returns the number of orders.
    async fn restart_all(&mut self, mut is_back: impl AsyncFnMut()) -> usize {
        let context = self.stack.jetstream().await;
        let ends = Arc::new(AtomicBool::new(false));
        let publishing = {
            let ends = ends.clone();
            tokio::spawn(async move {
                let mut count = BEFORE;
                while !ends.load(Ordering::Relaxed) {
                    let payload = order(&format!("order-{count}"));
                    context.publish("TESTING", payload.into()).await.unwrap().await.unwrap();
                    count += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                count
            })
        };
        for number in 0..self.services.len() {
            self.restart(number).await;
            is_back().await;
        }
        ends.store(true, Ordering::Relaxed);
        publishing.await.unwrap()
    }
}

/// Restarts all behind a balancer that checks this path.
async fn check_behind_balancer(mut fleet: Fleet, checked: &'static str) {
    let balancer = Balancer::start(&fleet.addrs(), checked).await;
    balancer.wait_ready().await;
    let load = Load::start(balancer.addr, &fleet).await;
    let count = fleet.restart_all(async || balancer.wait_ready().await).await;
    load.end_without_failure().await;
    fleet.wait_same(count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_a_balancer_fails_no_request_and_loses_no_order() {
    check_behind_balancer(Fleet::start("5s", None).await, "/readyz?for=reads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_a_balancer_that_asks_whether_orders_are_stored_fails_no_signed_in_request()
{
    check_behind_balancer(Fleet::start("5s", Some(TOKEN)).await, "/readyz").await;
}

/// It does not check `/readyz`, and tries the next server if a connection fails.
fn start_nginx(fleet: &Fleet) -> (Process, SocketAddr) {
    let program = tools::find_nginx().expect("nginx: `cargo xtask test` installs it");
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let dir = fleet.stack.temp_dir.path().join("nginx");
    std::fs::create_dir_all(&dir).unwrap();
    let servers: String = fleet.addrs().iter().map(|addr| format!("server {addr} max_fails=0;\n")).collect();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream orderd {{ {servers} keepalive 8; }}
    server {{
        listen {addr};
        location / {{ proxy_pass http://orderd; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host localhost; }}
    }}
}}"
    );
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let file = dir.join("nginx.conf");
    let args = ["-p".into(), dir.clone().into(), "-c".into(), file.into(), "-e".into(), "stderr".into()];
    let launch = Launch {
        args: args.into(),
        port: addr.port(),
        log: Some(dir.join("nginx.log")),
        ..Launch::new("nginx", program, &dir)
    };
    (Process::spawn(launch).unwrap(), addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_fails_no_request_and_loses_no_order() {
    let mut fleet = Fleet::start("2s", Some(TOKEN)).await;
    let (nginx, addr) = start_nginx(&fleet);
    eventually("nginx answers", async || {
        assert!(!nginx.has_ended(), "{}", nginx.log());
        ask(connect(addr).await.ok()?, "/healthz", None).await.ok().map(drop)
    })
    .await;
    let load = Load::start(addr, &fleet).await;
    let count = fleet.restart_all(async || ()).await;
    load.end_without_failure().await;
    fleet.wait_same(count).await;
}
