//! A database that does not respond: how much memory the service uses for waiting orders.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devstack::wait_for;

use crate::backlog;
use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup, WAIT_TIMEOUT};
use crate::{memory, procfs};

/// Time without new orders in memory after which the intake counts as stalled.
const STALLED: Duration = Duration::from_secs(5);

/// Limit in MiB for channels, batches and delivered messages together.
const BOUND: f64 = 256.0;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let count = env.rows;
    let (stream, subject) = env.stream(count)?;
    let table = env.empty_table()?;
    let empty = memory::resident(env, &table, 0)?;
    let lock = lock(env, &table)?;
    let setup = Setup { table: table.clone(), subject, stream, core: None, bound: None };
    let service = Service::start(env, &setup)?;
    let taken = stalled_at(&service)?;
    let peak = procfs::peak(service.pid());
    ensure!(taken < count, "all {count} orders were ingested while nothing could be written");
    unlock(env, lock)?;
    backlog::finish(&service, 0, count)?;
    service.stop()?;
    env.settle(Some(&table))?;
    Ok(vec![Figure {
        bench: "stalled-db",
        what: format!("peak memory with {count} orders waiting and the table locked"),
        unit: "MiB",
        ours: vec![peak.saturating_sub(empty) as f64 / f64::from(1 << 20)],
        limit: None,
        goal: Goal::Below(BOUND),
        note: format!(
            "over an empty service's; {taken} orders were ingested and held; all were committed after"
        ),
    }])
}

/// A session that locks the table.
fn lock(env: &Environment, table: &str) -> Result<Child> {
    let mut psql = env.psql_command(&format!("begin; lock table {table}; select pg_sleep(3600)"));
    let psql = psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let psql = psql.context("cannot run psql")?;
    let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted";
    let is_held = || env.postgres.psql(held).is_ok_and(|count| count.trim() != "0");
    ensure!(wait_for(WAIT_TIMEOUT, is_held), "the table could not be locked");
    Ok(psql)
}

fn unlock(env: &Environment, mut psql: Child) -> Result<()> {
    env.postgres.psql(
        "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(3600)' \
         and pid <> pg_backend_pid()",
    )?;
    psql.wait()?;
    Ok(())
}

/// The number of orders in memory once no more arrive.
fn stalled_at(service: &Service) -> Result<u64> {
    let (mut len, mut since) = (0, std::time::Instant::now());
    let stalled = wait_for(WAIT_TIMEOUT, || {
        let now = service.len().unwrap_or(len);
        if now != len {
            (len, since) = (now, std::time::Instant::now());
        }
        len > 0 && since.elapsed() > STALLED
    });
    ensure!(stalled, "orders were ingested without an end");
    Ok(len)
}
