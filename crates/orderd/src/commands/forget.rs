//! `orderd forget`: erases orders everywhere, for good.

use std::process::ExitCode;

use anyhow::Context as _;

use super::ask;
use super::progress::Progress;
use crate::cli::ForgetArgs;
use crate::config::{Http, Nats, Postgres};
use crate::forget::Forget;
use crate::nats;

/// Erases each. 1: one could not be erased everywhere; run it again.
///
/// # Errors
/// What could not be reached, or refuses.
pub async fn run(args: ForgetArgs) -> anyhow::Result<ExitCode> {
    let http = Http::new(&args.http)?;
    let nats = Nats::new(&args.nats)?;
    let client = nats::connect_once(&nats).await?;
    let forget = Forget { postgres: Postgres::new(&args.pg)?, nats, client };
    let mut ids = args.ids;
    if let Some(number) = &args.order_uid {
        ids.extend(found(&http, number).await?);
    }
    let progress = Progress::new(Some(ids.len() as u64), "orders");
    let erased = forget.forget(&ids, || progress.add(1)).await;
    erased.context("not everything is erased; run this again")?;
    super::print(&format!("{}\n", progress.finish("orders")))?;
    Ok(ExitCode::SUCCESS)
}

/// The ids of the orders with that number, from the running service.
async fn found(http: &Http, number: &str) -> anyhow::Result<Vec<String>> {
    let number = percent_encoding::utf8_percent_encode(number, percent_encoding::NON_ALPHANUMERIC);
    let (status, body) = ask::get(http, &format!("/orders?order_uid={number}")).await?;
    anyhow::ensure!(status.is_success(), "the service can't say which orders these are: {status}");
    let ids: Vec<String> = serde_json::from_slice(&body)?;
    anyhow::ensure!(!ids.is_empty(), "there is no order with that number");
    Ok(ids)
}
