//! wrk: the maximum rate over 64 connections, from one core.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::tools;

pub(crate) const SECONDS: u32 = 6;
const CONNECTIONS: &str = "64";

/// wrk's core; the server has [`SERVER_CORE`].
const CORE: &str = "1";
pub(crate) const SERVER_CORE: u32 = 0;

/// Requests random paths from a file. All requests are built before the first one is sent.
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

/// Requests orders 0 to the first argument; ids are computed for each request, because there are too many to prepare.
/// The second argument is the share of requests for orders whose number ends in 0. The third is the random seed, which
/// must differ each time, or the same orders would be requested again.
const SHARE_SCRIPT: &str = r#"
local count, share = 0, 0
function init(args)
  count, share = tonumber(args[1]), tonumber(args[2])
  math.randomseed(tonumber(args[3]))
end
function request()
  local number = math.random(0, count - 1)
  if math.random() < share then number = number - number % 10 end
  return string.format("GET /order/17%017.0f HTTP/1.1\r\nHost: localhost\r\n\r\n", number * 1000003)
end
"#;

/// The result.
pub(crate) struct WrkResult {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The p99 in milliseconds.
    pub(crate) p99: f64,
}

/// Requests a second for one path.
pub(crate) fn rate_of_path(addr: SocketAddr, path: &str) -> Result<f64> {
    Ok(run(&[&format!("http://{addr}{path}")])?.rate)
}

/// Requests orders 0 to `count`, with this share of requests for a tenth of the orders.
pub(crate) fn share(addr: SocketAddr, count: u64, share: f64, dir: &Path) -> Result<WrkResult> {
    let script = dir.join("share.lua");
    fs::write(&script, SHARE_SCRIPT)?;
    let (script, count, share) = (script.display().to_string(), count.to_string(), share.to_string());
    let start = fastrand::u32(..).to_string();
    run(&["-s", &script, &format!("http://{addr}/"), "--", &count, &share, &start])
}

/// Requests a second for paths of a file, in random order. `dir` is for the script.
pub(crate) fn random(addr: SocketAddr, paths: &Path, dir: &Path) -> Result<f64> {
    let script = dir.join("paths.lua");
    fs::write(&script, SCRIPT)?;
    let (script, paths) = (script.display().to_string(), paths.display().to_string());
    Ok(run(&["-s", &script, &format!("http://{addr}/"), "--", &paths])?.rate)
}

fn run(args: &[&str]) -> Result<WrkResult> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", CORE])
        .arg(tools::wrk()?)
        .args(["-t1", "-c", CONNECTIONS, "-d", &SECONDS.to_string(), "--latency"])
        .args(args);
    let output = command.stdin(Stdio::null()).output().context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "not all was answered: {text}");
    let loaded = || Some(WrkResult { rate: rate_in(&text)?, p99: p99_in(&text)? });
    loaded().with_context(|| format!("wrk gave no rate: {text}"))
}

fn rate_in(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).and_then(|rate| rate.trim().parse().ok())
}

/// The line `99%   12.34ms`, in milliseconds.
fn p99_in(text: &str) -> Option<f64> {
    let time = text.lines().find_map(|line| line.trim().strip_prefix("99%"))?.trim();
    let unit = time.find(|c: char| c.is_ascii_alphabetic())?;
    let scale = match &time[unit..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(time[..unit].parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_latency_is_found_in_what_wrk_says() {
        let text =
            |time| format!("  Latency Distribution\n     50%  630.00us\n     99%   {time}\n  1 requests\n");
        assert_eq!(super::p99_in(&text("630.00us")), Some(0.63));
        assert_eq!(super::p99_in(&text("12.50ms")), Some(12.5));
        assert_eq!(super::p99_in(&text("1.50s")), Some(1500.0));
    }

    /// The script computes ids by itself.
    #[test]
    fn ids_begin_with_17_and_17_digits_follow() {
        for number in [0_u64, 7, 4_999_999] {
            assert_eq!(format!("17{:017}", number * 1_000_003), crate::orders::id(number));
        }
    }

    #[test]
    fn the_rate_is_found_in_what_wrk_says() {
        assert_eq!(
            super::rate_in("Latency 1\nRequests/sec:  81234.56\nTransfer/sec: 1MB\n"),
            Some(81_234.56)
        );
        assert_eq!(super::rate_in("unable to connect"), None);
    }
}
