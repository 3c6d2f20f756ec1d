//! Rolling restart of three processes behind a load balancer: no request fails, no order is lost.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use devstack::{Launch, Process, Signal, free_port};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{LIMIT, Service, Stack, eventually, order, orders};

/// Number of concurrent clients.
const CLIENTS: usize = 6;

type Answered<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Sender = SendRequest<Empty<Bytes>>;

async fn connect(addr: SocketAddr) -> Answered<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(addr).await?)).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Sends one request, and returns the connection if it can be reused.
async fn ask(mut sender: Sender, path: &str) -> Answered<(StatusCode, Bytes, Option<Sender>)> {
    let request = Request::get(path).header("host", "localhost").body(Empty::new())?;
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

/// Checks `/readyz` and keeps connections open. It never retries, so that each failure is seen.
struct Balancer {
    addr: SocketAddr,
    backends: Arc<Vec<Backend>>,
}

impl Balancer {
    async fn start(addrs: &[SocketAddr]) -> Self {
        let backend =
            |&addr| Backend { addr, is_ready: AtomicBool::new(false), kept: Mutex::new(Vec::new()) };
        let backends: Arc<Vec<_>> = Arc::new(addrs.iter().map(backend).collect());
        for number in 0..addrs.len() {
            let backends = backends.clone();
            tokio::spawn(async move {
                loop {
                    let asked =
                        async { ask(connect(backends[number].addr).await?, "/readyz?for=reads").await };
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
            async move { Ok::<_, Infallible>(pass(&backends, request.uri().path()).await) }
        });
        let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass);
        tokio::spawn(async move { drop(served.await) });
    }
}

async fn pass(backends: &[Backend], path: &str) -> Response<Full<Bytes>> {
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
        let (status, body, kept) = ask(sender, path).await?;
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

/// Clients that continuously request orders.
struct Load {
    asked: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(addr: SocketAddr, ids: &[String]) -> Self {
        let mut load =
            Self { asked: Arc::default(), failed: Arc::default(), ends: Arc::default(), clients: Vec::new() };
        for client in 0..CLIENTS {
            let (asked, failed) = (load.asked.clone(), load.failed.clone());
            let (ends, ids) = (load.ends.clone(), ids.to_vec());
            load.clients.push(tokio::spawn(async move {
                let mut kept = None;
                for number in client.. {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let path = match number % 3 {
                        0 => "/order_pages/1".to_owned(),
                        _ => format!("/order/{}", ids[number % ids.len()]),
                    };
                    let answered = async {
                        let sender = match kept.take() {
                            Some(sender) => sender,
                            None => connect(addr).await?,
                        };
                        ask(sender, &path).await
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

    async fn end(self) -> (usize, Vec<String>) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        (self.asked.load(Ordering::Relaxed), std::mem::take(&mut *self.failed.lock().unwrap()))
    }
}

/// Three processes at addresses that stay theirs.
struct Fleet {
    stack: Stack,
    services: Vec<Service>,
    delay: &'static str,
}

impl Fleet {
    async fn start(delay: &'static str) -> Self {
        let mut fleet = Self { stack: Stack::new(), services: Vec::new(), delay };
        for _ in 0..3 {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let service = fleet.serve(addr).await;
            fleet.services.push(service);
        }
        fleet.stack.publish(&orders(20)).await;
        for service in &fleet.services {
            service.wait_len(20).await;
        }
        fleet
    }

    async fn serve(&self, addr: SocketAddr) -> Service {
        self.stack.serve(&[("HTTP_ADDR", &addr.to_string()), ("SHUTDOWN_DELAY", self.delay)]).await
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        self.services.iter().map(|service| service.addr).collect()
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
                let mut count = 20;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_a_balancer_fails_no_request_and_loses_no_order() {
    let mut fleet = Fleet::start("5s").await;
    let balancer = Balancer::start(&fleet.addrs()).await;
    balancer.wait_ready().await;
    let load = Load::start(balancer.addr, &fleet.services[0].ids().await);
    let count = fleet.restart_all(async || balancer.wait_ready().await).await;
    let (asked, failed) = load.end().await;
    assert!(failed.is_empty(), "{} of {asked} requests failed: {:?}", failed.len(), &failed[..1]);
    assert!(asked > 300, "{asked}");
    fleet.stack.wait_same(&fleet.services, count).await;
}

fn nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join("nginx")).find(|file| file.is_file())
}

/// It does not check `/readyz`, and tries the next server if a connection fails.
fn start_nginx(fleet: &Fleet) -> Option<(Process, SocketAddr)> {
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
        ..Launch::new("nginx", nginx()?, &dir)
    };
    Some((Process::spawn(launch).unwrap(), addr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_fails_no_request_and_loses_no_order() {
    let mut fleet = Fleet::start("2s").await;
    let Some((nginx, addr)) = start_nginx(&fleet) else {
        eprintln!("SKIPPED: no nginx is installed");
        return;
    };
    eventually("nginx answers", async || {
        assert!(!nginx.has_ended(), "{}", nginx.log());
        ask(connect(addr).await.ok()?, "/healthz").await.ok().map(drop)
    })
    .await;
    let load = Load::start(addr, &fleet.services[0].ids().await);
    let count = fleet.restart_all(async || ()).await;
    let (asked, failed) = load.end().await;
    assert!(failed.is_empty(), "{} of {asked} requests failed: {:?}", failed.len(), &failed[..1]);
    assert!(asked > 300, "{asked}");
    fleet.stack.wait_same(&fleet.services, count).await;
}
