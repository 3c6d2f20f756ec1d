//! A trace from a publisher's header to the commit, received by a test collector; and untraced messages.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_nats::HeaderMap;
use bytes::Bytes;
use devstack::{Signal, TempDir};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::access::Certificates;
use crate::support::{Service, Stack, eventually, order};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The spans that a collector has received.
#[derive(Default)]
struct Received {
    connections: usize,
    requests: Vec<(Request<()>, ExportTraceServiceRequest)>,
}

/// Takes spans by OTLP.
struct Collector {
    addr: SocketAddr,
    scheme: &'static str,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// With a certificate for `localhost`.
    async fn by_tls(files: &Certificates) -> Self {
        let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::with(Some(Arc::new(config).into())).await
    }

    async fn with(tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Received>>::default();
        let to = received.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                to.lock().unwrap().connections += 1;
                let (to, tls) = (to.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve_spans(stream, to).await,
                        Some(tls) => {
                            // A client that does not trust the certificate ends the handshake.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve_spans(stream, to).await;
                            }
                        }
                    }
                });
            }
        });
        Self { addr, scheme, received }
    }

    fn endpoint(&self) -> String {
        let host = if self.scheme == "https" { "localhost".into() } else { self.addr.ip().to_string() };
        format!("{}://{host}:{}", self.scheme, self.addr.port())
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.requests.iter().flat_map(|(_, request)| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Waits for this number of spans of that name.
    async fn named(&self, name: &str, count: usize) -> Vec<Span> {
        eventually(&format!("{count} spans {name}"), async || {
            let mut spans = self.spans();
            spans.retain(|span| span.name == name);
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

async fn serve_spans(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, to: Arc<Mutex<Received>>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let to = to.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let spans = ExportTraceServiceRequest::decode(body).unwrap();
            to.lock().unwrap().requests.push((Request::from_parts(head, ()), spans));
            Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
        }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
}

/// An attribute as text.
fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// The child of that name of a span.
async fn child(collector: &Collector, parent: &Span, name: &str) -> Span {
    let named = collector.named(name, 1).await;
    named.into_iter().find(|span| span.parent_span_id == parent.span_id).unwrap()
}

async fn publish(stack: &Stack, header: &str, value: &str, payload: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(header, value);
    let context = stack.jetstream().await;
    let published = context.publish_with_headers("TESTING", headers, payload.to_owned().into());
    published.await.unwrap().await.unwrap();
}

async fn serve_traced(stack: &Stack, collector: &Collector, env: &[(&str, &str)]) -> Service {
    let endpoint = collector.endpoint();
    stack.serve(&[&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())], env].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_followed_from_the_publishers_header_to_the_commit() {
    let (stack, collector) = (Stack::new(), Collector::new().await);
    let named = [
        ("OTEL_SERVICE_NAME", "shop"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc%3D"),
    ];
    let service = serve_traced(&stack, &collector, &named).await;
    // Neither a message without the header, nor one whose publisher does not record the trace.
    stack.publish(&[order("untraced")]).await;
    publish(&stack, "traceparent", &traceparent("00"), &order("unsampled")).await;
    service.wait_len(2).await;
    stack.wait_settled(2).await;

    let sql = stack.sql().await;
    sql.batch_execute("BEGIN; LOCK TABLE public.orders2 IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begun = nanos();
    publish(&stack, "traceparent", &traceparent("01"), &order("traced")).await;
    service.wait_len(3).await;
    // The transaction fails, and is tried again.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    eventually("the writer waits for the table", async || {
        (sql.query_one(end, &[]).await.unwrap().get::<_, i64>(0) > 0).then_some(())
    })
    .await;
    assert!(collector.spans().is_empty(), "it is not committed");
    let unlocked = nanos();
    sql.batch_execute("COMMIT").await.unwrap();

    let span = collector.named("process TESTING", 1).await.remove(0);
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(span.kind(), SpanKind::Consumer);
    assert!(span.start_time_unix_nano >= begun && span.end_time_unix_nano >= unlocked, "{span:?}");
    let said = ["messaging.system", "messaging.destination.name", "messaging.nats.stream.sequence"]
        .map(|name| attribute(&span, name).unwrap());
    assert_eq!(said, ["nats", "TESTING", "3"]);
    assert_eq!(attribute(&span, "messaging.message.id").as_ref(), service.ids().await.last());
    let (decode, commit) =
        (child(&collector, &span, "decode").await, child(&collector, &span, "commit").await);
    assert!(decode.start_time_unix_nano >= span.start_time_unix_nano);
    assert!(commit.start_time_unix_nano >= decode.end_time_unix_nano);
    assert_eq!(commit.end_time_unix_nano, span.end_time_unix_nano);
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(!format!("{spans:?}").contains("traced\""), "no content");

    let received = collector.received.lock().unwrap();
    let (head, request) = &received.requests[0];
    assert_eq!(head.uri().path(), "/v1/traces");
    let headers =
        ["api-key", "content-type", "host"].map(|name| head.headers()[name].to_str().unwrap().to_owned());
    assert_eq!(headers, ["abc=".into(), "application/x-protobuf".into(), collector.addr.to_string()]);
    let resource = format!("{:?}", request.resource_spans[0].resource);
    assert!(resource.contains("shop") && resource.contains("deployment.environment.name"), "{resource}");
}

/// `SSL_CERT_FILE` names the authority, as for OpenSSL.
#[tokio::test(flavor = "multi_thread")]
async fn spans_are_sent_by_tls_to_a_collector_whose_authority_is_trusted() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (files, others) = (Certificates::new(dir.path()), Certificates::new(other.path()));
    let (stack, collector) = (Stack::new(), Collector::by_tls(&files).await);
    let serve = async |authority: &Path| {
        let trusted = [("SSL_CERT_FILE", authority.to_str().unwrap())];
        let service = serve_traced(&stack, &collector, &trusted).await;
        publish(&stack, "traceparent", &traceparent("01"), &order("traced")).await;
        service
    };
    let mut service = serve(&others.authority).await;
    eventually("the log has the reason", async || {
        let log = service.process.log();
        let line = log.lines().find(|line| line.contains("the collector does not accept spans"))?;
        assert!(line.contains("certificate"), "{line}");
        Some(())
    })
    .await;
    assert_eq!(service.stop(), Some(0));
    assert!(collector.spans().is_empty(), "sent to a server that nobody vouches for");
    let _service = serve(&files.authority).await;
    let span = collector.named("process TESTING", 1).await.remove(0);
    assert_eq!(hex(&span.trace_id), TRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_has_its_trace_in_the_dead_letter_the_log_and_the_replay() {
    let (stack, collector) = (Stack::new(), Collector::new().await);
    let service = serve_traced(&stack, &collector, &[]).await;
    // As Go's HTTP headers write the name.
    publish(&stack, "Traceparent", &traceparent("01"), r#"{"track_number":"A"}"#).await;
    let refused = collector.named("process TESTING", 1).await.remove(0);
    assert_eq!(hex(&refused.trace_id), TRACE);
    assert_eq!(attribute(&refused, "error.type").as_deref(), Some("missing_member"));
    assert_eq!(refused.status.unwrap().code(), StatusCode::Error);
    let letters = service.get("/dead_letters").await.json();
    let letter = &letters[0];
    assert_eq!(letter["trace_id"], TRACE, "{letters}");
    let said = service.process.log();
    let line = said.lines().find(|line| line.contains("message refused")).unwrap();
    assert!(line.contains(TRACE), "{line}");

    let key = letter["key"].as_str().unwrap();
    let mended = stack.temp_dir.path().join("mended.json");
    std::fs::write(&mended, order("mended")).unwrap();
    let replay = ["dead-letters", "replay", key, "--with", mended.to_str().unwrap()];
    assert!(stack.run(&replay, "").await.status.success());
    let taken_in = collector.named("process TESTING", 2).await.remove(1);
    assert_eq!((hex(&taken_in.trace_id), hex(&taken_in.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(attribute(&taken_in, "messaging.message.id").as_deref(), Some(key));
    child(&collector, &taken_in, "commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_trace_has_a_span_and_the_same_answer() {
    let (stack, collector) = (Stack::new(), Collector::new().await);
    let service = serve_traced(&stack, &collector, &[]).await;
    stack.publish(&[order("asked-for")]).await;
    service.wait_len(1).await;
    let path = format!("/order/{}", service.ids().await[0]);
    let asked = |path: &str| Request::get(path).header("traceparent", traceparent("01"));
    let (plain, traced) = (service.get(&path).await, service.send(asked(&path)).await);
    assert_eq!((plain.status, &plain.body), (traced.status, &traced.body));
    let names = |headers: &hyper::HeaderMap| {
        headers.keys().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&plain.headers), names(&traced.headers));
    let span = collector.named("GET /order/{id}", 1).await.remove(0);
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(attribute(&span, "http.response.status_code").as_deref(), Some("200"));
    // Queries are content.
    service.send(asked("/orders?order_uid=asked-for")).await;
    collector.named("GET /orders", 1).await;
    service.send(asked("/asked-for")).await;
    collector.named("GET", 1).await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(!format!("{spans:?}").contains("asked-for"), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sampler_records_requests_of_those_who_trace_nothing() {
    let (stack, collector) = (Stack::new(), Collector::new().await);
    let service = serve_traced(&stack, &collector, &[("OTEL_TRACES_SAMPLER", "parentbased_always_on")]).await;
    assert_eq!(service.get("/order?order_uid=nobody").await.status, hyper::StatusCode::NOT_FOUND);
    let span = collector.named("GET /order", 1).await.remove(0);
    assert_eq!((span.parent_span_id.len(), span.trace_id.len()), (0, 16));
    let unsampled = Request::get("/mem_len").header("traceparent", traceparent("00"));
    service.send(unsampled).await;
    service.send(Request::get("/mem_len")).await;
    // Its sender decides.
    let spans = collector.named("GET /mem_len", 1).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_no_collector_is_set() {
    let (stack, collector) = (Stack::new(), Collector::new().await);
    let mut service =
        stack.serve(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_TRACES_SAMPLER", "xray")]).await;
    publish(&stack, "traceparent", &traceparent("01"), &order("a")).await;
    publish(&stack, "traceparent", &traceparent("01"), "{").await;
    service.wait_len(1).await;
    stack.wait_settled(2).await;
    // It is known all the same.
    assert_eq!(service.get("/dead_letters").await.json()[0]["trace_id"], TRACE);
    assert_eq!(service.stop(), Some(0));
    assert_eq!(collector.received.lock().unwrap().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_one_line() {
    let stack = Stack::new();
    // A listener that accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for (endpoint, is_refused) in [("http://127.0.0.1:1", true), (silent.as_str(), false)] {
        let mut service = stack.serve(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).await;
        let count = service.mem_len().await;
        let warnings = |service: &Service| service.process.log().matches("does not accept spans").count();
        publish(&stack, "traceparent", &traceparent("01"), &order("a")).await;
        if is_refused {
            eventually("it is said", async || (warnings(&service) > 0).then_some(())).await;
        }
        publish(&stack, "traceparent", &traceparent("01"), &order("b")).await;
        service.wait_len(count + 2).await;
        stack.wait_settled(count + 2).await;
        let told = Instant::now();
        assert_eq!(service.process.end(Signal::TERM).and_then(|status| status.code()), Some(0));
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        assert!(warnings(&service) <= 1, "{}", service.process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_can_not_be_used_are_named_before_anything_runs() {
    let stack = Stack::new();
    for (name, value) in [
        ("--otel-exporter-otlp-endpoint", "127.0.0.1:4318"),
        ("--otel-traces-sampler", "xray"),
        ("--otel-resource-attributes", "a"),
    ] {
        for command in [&["serve"][..], &["check", "--settings"]] {
            let endpoint = ["--otel-exporter-otlp-endpoint", "http://127.0.0.1:1"];
            let endpoint = if name == endpoint[0] { &[][..] } else { &endpoint[..] };
            let output = stack.run(&[command, &[name, value], endpoint].concat(), "").await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            let variable = name.trim_start_matches('-').replace('-', "_").to_uppercase();
            assert!(said.contains(&variable) && said.contains("it takes"), "{said}");
        }
    }
}
