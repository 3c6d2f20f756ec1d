//! Reads the final state of a round, from the servers and over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::checker::{Snapshot, uid_in};
use crate::http;
use crate::observer::Observer;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of orders to compare one by one over HTTP.
const COMPARED: usize = 200;

/// The table and the dead letters.
pub(crate) async fn stored(observer: &mut Observer) -> Result<Snapshot> {
    let rows = observer.all_rows().await?;
    let dead = observer.dead_letters().await?;
    Ok(Snapshot { rows, dead, ..Snapshot::default() })
}

/// Adds the state that a service serves.
pub(crate) fn served(addr: SocketAddr, mut snapshot: Snapshot) -> Result<Snapshot> {
    let ask = |path: &str| http::get(addr, path, REQUEST_TIMEOUT);
    let mem_len: serde_json::Value = serde_json::from_str(&ask("/mem_len")?.1)?;
    snapshot.mem_len = usize::try_from(mem_len["mem_len"].as_u64().unwrap_or(0))?;
    for page in 1..=snapshot.rows.len() + 2 {
        let (status, body) = ask(&format!("/order_pages/{page}"))?;
        snapshot.past_last = status;
        if status != 200 {
            break;
        }
        snapshot.pages.push(serde_json::from_str(&body)?);
    }
    snapshot.last_page = serde_json::from_str(&ask("/order_pages/last")?.1).unwrap_or_default();
    let step = snapshot.rows.len().div_ceil(COMPARED).max(1);
    for (id, json) in snapshot.rows.iter().step_by(step) {
        snapshot.answers.insert(id.clone(), ask(&format!("/order/{id}"))?);
        if let Some(uid) = json.as_ref().ok().and_then(|json| uid_in(json)) {
            snapshot.found.insert(id.clone(), ask(&format!("/orders?order_uid={uid}"))?.1);
        }
    }
    Ok(snapshot)
}

/// The number of orders in a service's memory.
pub(crate) fn mem_len(addr: SocketAddr) -> Option<usize> {
    let (_, body) = http::get(addr, "/mem_len", REQUEST_TIMEOUT).ok()?;
    let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
    usize::try_from(answer["mem_len"].as_u64()?).ok()
}

/// Chunks in the service's channels.
pub(crate) fn depths(addr: SocketAddr) -> Option<u64> {
    let (_, metrics) = http::get(addr, "/metrics", Duration::from_millis(200)).ok()?;
    let lines = metrics.lines().filter(|line| line.starts_with("orderd_channel_depth{"));
    Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}
