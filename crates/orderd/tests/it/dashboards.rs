//! Dashboards and alerts of `deploy/`: a real Prometheus that scrapes the real service answers every query, and the
//! other files pass their programs' checks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use devstack::{Prometheus, tools};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Service, Stack, eventually, order, orders, uid};

/// Only where the service speaks TLS; `access::http_by_tls` shows its value.
const CERTIFICATE: &str = "orderd_certificate_expiry";

/// Prefix of node exporter metrics, which measure the machine; tests do not start an exporter.
const MACHINE: &str = "node_";

/// Allowed prefixes of metrics in dashboards and alerts.
const NAMES: [&str; 6] = ["myapp_", "orderd_", "process_", MACHINE, "up", "ALERTS"];

fn deploy() -> PathBuf {
    tools::workspace().join("deploy")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}

/// The queries of all panels and variables of a board, as Grafana sends them.
fn queries_of_board(file: &str) -> Vec<String> {
    let board: Value = serde_json::from_str(&read(file)).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let exprs = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let values = variables.filter_map(|variable| variable["definition"].as_str()).map(|definition| {
        let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        inner.and_then(|inner| inner.rsplit_once(',')).unwrap().0.to_owned()
    });
    exprs.chain(values).map(|query| filled_in(&query)).collect()
}

fn filled_in(query: &str) -> String {
    let filled = query.replace("$__rate_interval", "1m").replace("$instance", ".+");
    assert!(!filled.contains('$'), "a variable that this test doesn't know: {query}");
    filled
}

/// The selectors of a query: names of metrics with their label matchers.
fn selectors(query: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        rest = &rest[word.len()..];
        let braces = if rest.starts_with('{') { &rest[..=rest.find('}').unwrap()] } else { "" };
        rest = &rest[braces.len()..];
        if NAMES.iter().any(|name| if name.ends_with('_') { word.starts_with(name) } else { word == *name }) {
            found.insert(format!("{word}{braces}"));
        }
        // Words inside a quoted string are not names.
        if rest.starts_with('"') {
            rest = rest[1..].split_once('"').unwrap().1;
        }
    }
    found
}

/// The result of a Prometheus query, or its error.
async fn ask(port: u16, path: &str, query: &str) -> Result<Value, String> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET /api/v1/{path}{encoded} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer.to_string()) }
}

/// Whether a query is answered by numbers.
async fn has_data(port: u16, query: &str) -> bool {
    let data = ask(port, "query?query=", query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let samples = data["result"].as_array().unwrap();
    samples.iter().any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN"))
}

/// Prometheus with the alerts of `deploy/`, that reads the service's metrics all the time.
async fn prometheus(stack: &Stack, service: &Service) -> Prometheus {
    let job = "job_name: orderd\n";
    assert!(read("prometheus/prometheus.yml").contains(job), "alerts ask for this job");
    let dir = stack.temp_dir.path().join("prometheus");
    std::fs::create_dir_all(&dir).unwrap();
    let config = dir.join("prometheus.yml");
    let rules = deploy().join("prometheus/alerts.yml");
    // The second job is for the alert about other targets. It scrapes the same service, and keeps only `up`: otherwise,
    // every sum over the service's metrics would double.
    let up_alone = "metric_relabel_configs: [{ source_labels: [__name__], regex: '.*', action: drop }]";
    let text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n  \
         - {job}    static_configs: [{{ targets: ['{addr}'] }}]\n  - job_name: prometheus\n    static_configs: \
         [{{ targets: ['{addr}'] }}]\n    {up_alone}\n",
        addr = service.addr
    );
    std::fs::write(&config, text).unwrap();
    tokio::task::spawn_blocking(move || {
        tools::ensure_prometheus(&mut |line| eprintln!("{line}")).unwrap();
        Prometheus::start(&dir, &config, None).unwrap()
    })
    .await
    .unwrap()
}

/// Traffic of every kind that is counted, so that every counter grows while it is queried.
async fn traffic(stack: &Stack, service: &Service) {
    stack.publish(&[order(&format!("order-{}", uid()))]).await;
    stack.publish(&["no json"]).await;
    for path in ["/mem_len", "/order/unknown", "/order/broken"] {
        service.get(path).await;
    }
}

/// A stack whose table holds a row that can't be decoded.
async fn with_a_broken_row() -> (Stack, Service) {
    let stack = Stack::new();
    stack
        .postgres
        .psql("CREATE TABLE public.orders2 (id text NOT NULL PRIMARY KEY, data bytea); INSERT INTO public.orders2 VALUES ('broken', '\\x00')")
        .unwrap();
    let service = stack.serve(&[]).await;
    (stack, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_boards_and_alerts_returns_data() {
    let (stack, service) = with_a_broken_row().await;
    let prometheus = prometheus(&stack, &service).await;
    let port = prometheus.port();
    stack.publish(&orders(50)).await;
    let alerts = alerts(port).await;
    let boards = ["seed", "orderd"].iter();
    let boards = boards.flat_map(|name| queries_of_board(&format!("grafana/dashboards/{name}.json")));
    // A panel that filters is empty while there is no limit or no warning.
    let (filtering, others): (Vec<_>, Vec<_>) = boards.partition(|query| query.contains(" > 0"));
    let mut wanted: BTreeSet<String> =
        alerts.iter().chain(&filtering).flat_map(|expr| selectors(expr)).collect();
    wanted.extend(others);
    let (machine, mut missing): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|query| query.contains(MACHINE) || query.contains(CERTIFICATE));
    assert!(missing.len() > 40, "queries were not found: {missing:?}");
    for query in machine.iter().chain(&alerts).chain(&filtering) {
        // With or without data, it must be a valid query.
        has_data(port, query).await;
    }
    let all = eventually("every query has data", async || {
        traffic(&stack, &service).await;
        let mut without = Vec::new();
        for query in std::mem::take(&mut missing) {
            if !has_data(port, &query).await {
                without.push(query);
            }
        }
        missing = without;
        tokio::time::sleep(Duration::from_millis(500)).await;
        missing.is_empty().then_some(())
    });
    if tokio::time::timeout(Duration::from_secs(150), all).await.is_err() {
        panic!("no data: {missing:#?}");
    }
}

/// The expressions of all alerts, as Prometheus has read them.
async fn alerts(port: u16) -> Vec<String> {
    let data = ask(port, "rules", "").await.unwrap();
    let groups = data["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let exprs: Vec<String> = rules.map(|rule| rule["query"].as_str().unwrap().to_owned()).collect();
    assert_eq!(exprs.len(), read("prometheus/alerts.yml").matches("- alert:").count());
    exprs
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_number_is_that_of_mem_len() {
    let (stack, service) = Stack::started().await;
    let prometheus = prometheus(&stack, &service).await;
    stack.publish(&orders(7)).await;
    service.wait_len(7).await;
    let board: Value = serde_json::from_str(&read("grafana/dashboards/seed.json")).unwrap();
    assert_eq!(board["panels"][0]["title"], "orders in memcache");
    let query = filled_in(board["panels"][0]["targets"][0]["expr"].as_str().unwrap());
    eventually("Prometheus has the number", async || {
        let data = ask(prometheus.port(), "query?query=", &query).await.unwrap();
        (data["result"][0]["value"][1] == "7").then_some(())
    })
    .await;
}

#[test]
fn promtool_and_amtool_accept_the_rules() {
    let mut say = |line: &str| eprintln!("{line}");
    tools::ensure_prometheus(&mut say).unwrap();
    let promtool = tools::find_promtool().unwrap();
    let amtool = tools::ensure_amtool(&mut say).unwrap();
    let checks = [
        (&promtool, &["check", "config", "prometheus/prometheus.yml"][..]),
        (&promtool, &["check", "rules", "prometheus/alerts.yml"]),
        (&promtool, &["test", "rules", "prometheus/alerts.test.yml"]),
        (&amtool, &["check-config", "alertmanager/alertmanager.yml"]),
    ];
    for (program, args) in checks {
        let output = Command::new(program).args(args).current_dir(deploy()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}

/// The seed's metric names are fixed; promtool wants them to end in `_total`.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_metrics_but_the_names_of_the_seed() {
    let (stack, service) = Stack::started().await;
    stack.publish(&orders(3)).await;
    service.wait_len(3).await;
    let metrics = eventually("the streams are asked for", async || {
        let metrics = service.get("/metrics").await.body;
        let are_known = metrics.contains("orderd_stream_bytes{stream=\"ORDERS_DEAD\"}")
            && metrics.contains("\norderd_stream_messages{stream=\"ORDERS\"} 3");
        are_known.then_some(metrics)
    })
    .await;
    let version = Command::new(&stack.program).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let (version, revision) = version.trim().strip_prefix("orderd ").unwrap().split_once(" (").unwrap();
    let revision = revision.trim_end_matches(')').replace("unknown commit", "unknown");
    let build = format!("orderd_build_info{{revision=\"{revision}\",version=\"{version}\"}} 1\n");
    for line in [
        build.as_str(),
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
    ] {
        assert!(metrics.contains(&format!("\n{line}")), "{line}: {metrics}");
    }
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - value("process_start_time_seconds");
    assert!((-5.0..600.0).contains(&age), "{age}");
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") > 5.0);

    let mut say = |line: &str| eprintln!("{line}");
    tools::ensure_prometheus(&mut say).unwrap();
    let mut promtool = Command::new(tools::find_promtool().unwrap());
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let others: Vec<_> = said.lines().filter(|line| !line.starts_with("myapp_orders_")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(said.contains("myapp_orders_write_db"), "it looks at them: {said}");
}

#[test]
fn selectors_are_found() {
    let query = r#"sum by (le, instance) (rate(orderd_x_bucket{a=~"up|b"}[5m])) / up > on (up_to) myapp_y == 0 and z{c="orderd_d"}"#;
    let found: Vec<String> = selectors(query).into_iter().collect();
    assert_eq!(found, ["myapp_y", r#"orderd_x_bucket{a=~"up|b"}"#, "up"]);
}
