//! `orderd erase`: erases orders everywhere, for good.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::ask;
use super::progress::Progress;
use crate::cli::EraseArgs;
use crate::config::{Http, Nats, Postgres};
use crate::erasure::Eraser;
use crate::nats;
use crate::serve::cache::FOUND;

/// How long a service may take to notice what was erased.
const SHOWS_ERASED: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(200);

/// Erases each. 1: one could not be erased everywhere; run it again.
///
/// # Errors
/// What could not be reached, or refuses.
pub async fn run(args: EraseArgs) -> anyhow::Result<ExitCode> {
    let http = Http::new(&args.http)?;
    let nats = Nats::new(&args.nats)?;
    let client = nats::connect_once(&nats).await?;
    let eraser = Eraser { postgres: Postgres::new(&args.pg)?, nats, client };
    let progress = Progress::new(Some(args.ids.len() as u64), "orders");
    erase(&eraser, &args.ids, &progress).await?;
    if let Some(number) = &args.order_uid {
        erase_all_of(&eraser, &http, number, &progress).await?;
    }
    super::print(&format!("{}\n", progress.finish("orders")))?;
    Ok(ExitCode::SUCCESS)
}

async fn erase(eraser: &Eraser, ids: &[String], progress: &Progress) -> anyhow::Result<()> {
    let erased = eraser.erase(ids, || progress.add(1)).await;
    erased.context("not everything is erased; run this again")
}

/// The service shows the newest of them, and those that are erased for up to a second more.
async fn erase_all_of(eraser: &Eraser, http: &Http, number: &str, progress: &Progress) -> anyhow::Result<()> {
    let (_, state) = ask::get(http, "/readyz").await?;
    let state: serde_json::Value = serde_json::from_slice(&state)?;
    let is_filled = state["fill"]["up"] == true;
    anyhow::ensure!(
        is_filled,
        "the service doesn't have all orders in memory yet; run this again when it has"
    );
    let mut erased = HashSet::new();
    let mut shown = Instant::now();
    loop {
        let found = found(http, number).await?;
        anyhow::ensure!(!found.is_empty() || !erased.is_empty(), "there is no order with that number");
        let more: Vec<_> = found.iter().filter(|id| !erased.contains(*id)).cloned().collect();
        if !more.is_empty() {
            progress.expect(more.len() as u64);
            erase(eraser, &more, progress).await?;
            erased.extend(more);
            shown = Instant::now();
        } else if found.len() < FOUND {
            return Ok(());
        } else {
            anyhow::ensure!(
                shown.elapsed() < SHOWS_ERASED,
                "not everything is erased, for the service goes on to show what is; run this again"
            );
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// The ids of the orders with that number, from the running service.
async fn found(http: &Http, number: &str) -> anyhow::Result<Vec<String>> {
    let number = percent_encoding::utf8_percent_encode(number, percent_encoding::NON_ALPHANUMERIC);
    let (status, body) = ask::get(http, &format!("/orders?order_uid={number}")).await?;
    let said = String::from_utf8_lossy(&body);
    anyhow::ensure!(status.is_success(), "the service can't say which orders these are: {said}");
    Ok(serde_json::from_slice(&body)?)
}
