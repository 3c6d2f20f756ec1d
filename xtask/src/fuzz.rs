//! `cargo xtask fuzz`: mutated input for everything that reads input, each target for so long.
//!
//! By cargo-fuzz, without a sanitizer: nothing of ours that reads input is `unsafe`, and so the toolchain of the
//! workspace does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use devstack::cargo;
use devstack::tools::workspace;

use crate::say;

/// A target, what it starts from, and how long its input may be.
struct Target {
    name: &'static str,
    seeds: fn() -> Result<Vec<Vec<u8>>>,
    longest: usize,
}

const TARGETS: [Target; 5] = [
    Target { name: "rows", seeds: rows, longest: 8192 },
    Target { name: "payloads", seeds: payloads, longest: 8192 },
    Target { name: "requests", seeds: requests, longest: 4096 },
    Target { name: "samples", seeds: samples, longest: 4096 },
    Target { name: "frames", seeds: frames, longest: 4096 },
];

/// Throw mutated input at what reads input
///
/// rows: rows of the table. payloads: messages. requests: HTTP, its paths and keys. samples: documents
/// of models. frames: what a NATS server sends. Starts from the tests' corpora and keeps what it finds
/// new under target/fuzz. Exit code 1 where one panics, hangs or grows; cargo-fuzz says how to do it
/// again. Installs cargo-fuzz if missing.
///
/// Examples: cargo xtask fuzz
///           cargo xtask fuzz rows --seconds 600
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Which: rows, payloads, requests, samples, frames [default: each in turn]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.map(|target| target.name)))]
    target: Option<String>,
    /// How long each
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure_cargo_fuzz()?;
    let wanted = |target: &&Target| options.target.as_ref().is_none_or(|name| name == target.name);
    for target in TARGETS.iter().filter(wanted) {
        say(&format!("fuzzing {} for {} s", target.name, options.seconds));
        fuzz(target, options.seconds)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ensure_cargo_fuzz() -> Result<()> {
    let there = cargo::command().args(["fuzz", "--version"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    say("installing cargo-fuzz");
    let installed = cargo::command().args(["install", "cargo-fuzz", "--locked"]).status();
    match installed.context("cannot install cargo-fuzz: cannot start cargo")?.success() {
        true => Ok(()),
        false => bail!("cannot install cargo-fuzz; cargo's messages are above"),
    }
}

fn fuzz(target: &Target, seconds: u32) -> Result<()> {
    let dir = workspace().join("target").join("fuzz");
    let (corpus, seeds) = (dir.join("corpus").join(target.name), dir.join("seeds").join(target.name));
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    write_seeds(&seeds, &(target.seeds)()?)?;
    let mut fuzz: Command = cargo::command();
    fuzz.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]).arg(dir.join("build"));
    fuzz.arg(target.name).args([&corpus, &seeds]).arg("--");
    fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={}", target.longest));
    // An input that takes seconds or a gigabyte is a finding too.
    fuzz.args(["-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"]);
    let status = fuzz.status().context("cannot start cargo fuzz")?;
    if !status.success() {
        bail!("{} has found something; what to run again is above", target.name);
    }
    Ok(())
}

fn write_seeds(dir: &Path, seeds: &[Vec<u8>]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (number, seed) in seeds.iter().enumerate() {
        let file = dir.join(number.to_string());
        fs::write(&file, seed).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn read(file: &str) -> Result<String> {
    let file: PathBuf = workspace().join(file);
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// The rows that Go wrote.
fn rows() -> Result<Vec<Vec<u8>>> {
    corpus(|line| line["row"].as_str().and_then(|row| BASE64_STANDARD.decode(row).ok()))
}

/// The sample, and the orders of the rows that Go wrote.
fn payloads() -> Result<Vec<Vec<u8>>> {
    let mut payloads =
        corpus(|line| line["order"].is_object().then(|| line["order"].to_string().into_bytes()))?;
    payloads.push(read("samples/order.json")?.into_bytes());
    Ok(payloads)
}

fn corpus(seed: impl Fn(&serde_json::Value) -> Option<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let lines = read("crates/order/tests/corpus/rows.jsonl")?;
    let lines = lines.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.iter().filter_map(seed).collect())
}

/// Each route with valid parameters, and some invalid keys.
fn requests() -> Result<Vec<Vec<u8>>> {
    let paths = [
        "/",
        "/mem_len",
        "/order_pages/last",
        "/order_pages/1",
        "/order_pages/0",
        "/order_pages/18446744073709551616",
        "/order/1700000000123456789-42",
        "/order/%31700000000123456789-42",
        "/order/..%2f",
        "/order/%00",
        "/order/",
        "/orders?order_uid=b563feb7b2b84b6test&track_number=WBILMTESTTRACK",
        "/orders?%ff=%",
        "/order?order_uid=b563feb7b2b84b6test",
        "/orders?from=2026-01-31T12:00:00Z&to=1&order=asc&limit=2&after=1-1&full=true",
        "/events?last_event_id=a-1",
        "/metrics",
        "/healthz",
        "/readyz?for=reads",
        "/openapi.json",
        "/docs",
        "/dead_letters",
        "/session",
    ];
    let asked = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
    };
    let mut requests: Vec<_> = paths.iter().map(|path| asked("GET", path)).collect();
    requests.extend(["HEAD", "POST", "DELETE", "OPTIONS"].map(|method| asked(method, paths[6])));
    requests.push(asked("GET", paths[6]).repeat(3));
    requests.push(b"POST /session HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\ntoken=a".into());
    requests.push(b"GET /events HTTP/1.1\r\nhost: localhost\r\nlast-event-id: a-1\r\naccept-encoding: gzip\r\ncookie: orderd_session=a\r\nauthorization: Bearer a\r\n\r\n".into());
    Ok(requests)
}

fn samples() -> Result<Vec<Vec<u8>>> {
    let texts = [r#"{"a":1}"#, r#"{"type":{"a_b":[1.5,null]},"имя":[{"x":true},{"x":false,"y":"z"}]}"#];
    let mut samples: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    samples.extend([read("samples/order.json")?.into(), read("samples/station.json")?.into()]);
    Ok(samples)
}

/// Each operation of the protocol, and malformed headers.
fn frames() -> Result<Vec<Vec<u8>>> {
    let info = r#"INFO {"server_id":"a","version":"2.11.0","max_payload":1048576,"headers":true}"#;
    let message = |headers: &str| {
        let length = headers.len();
        format!("HMSG a 1 $JS.ACK.S.c.1.2.3.4.0 {length} {}\r\n{headers}hi\r\n", length + 2)
    };
    let headers =
        ["NATS/1.0\r\nFoo: a\rb\r\n\r\n", "NATS/1.0 503\r\n\r\n", "NATS/2.0\r\nno colon\r\n b\r\n\r\n"];
    let mut frames: Vec<String> = headers.map(message).into();
    frames.extend(
        [info, "PING", "PONG", "+OK", "-ERR 'no'", "-ERR", "MSG a 1 b 2\r\nhi"]
            .map(|line| format!("{line}\r\n")),
    );
    let mut frames: Vec<_> = frames.into_iter().map(String::into_bytes).collect();
    frames.push(frames.concat());
    Ok(frames)
}
