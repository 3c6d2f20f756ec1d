//! wrk: as many requests as 64 connections carry, from one core.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::tools;

pub(super) const SECONDS: u32 = 6;
const CONNECTIONS: &str = "64";

/// The core that wrk has; the server has [`SERVER_CORE`].
const CORE: &str = "1";
pub(super) const SERVER_CORE: u32 = 0;

/// Asks for random paths out of a file. All requests stand ready before the first one is sent.
const SCRIPT: &str = r#"
local requests = {}
function init(args)
  for line in io.lines(args[1]) do
    requests[#requests + 1] = "GET " .. line .. " HTTP/1.1\r\nHost: localhost\r\n\r\n"
  end
  math.randomseed(20231124)
end
function request()
  return requests[math.random(#requests)]
end
"#;

/// Requests a second for one path.
pub(super) fn one(addr: SocketAddr, path: &str) -> Result<f64> {
    run(&[&format!("http://{addr}{path}")])
}

/// Requests a second for paths of a file, in random order. `dir` is for the script.
pub(super) fn random(addr: SocketAddr, paths: &Path, dir: &Path) -> Result<f64> {
    let script = dir.join("paths.lua");
    fs::write(&script, SCRIPT)?;
    let (script, paths) = (script.display().to_string(), paths.display().to_string());
    run(&["-s", &script, &format!("http://{addr}/"), "--", &paths])
}

fn run(args: &[&str]) -> Result<f64> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", CORE])
        .arg(tools::wrk()?)
        .args(["-t1", "-c", CONNECTIONS, "-d", &SECONDS.to_string()])
        .args(args);
    let output = command.stdin(Stdio::null()).output().context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "not all was answered: {text}");
    rate_in(&text).with_context(|| format!("wrk gave no rate: {text}"))
}

fn rate_in(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).and_then(|rate| rate.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_rate_is_found_in_what_wrk_says() {
        assert_eq!(
            super::rate_in("Latency 1\nRequests/sec:  81234.56\nTransfer/sec: 1MB\n"),
            Some(81_234.56)
        );
        assert_eq!(super::rate_in("unable to connect"), None);
    }
}
