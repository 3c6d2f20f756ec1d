//! Whether one connection to PostgreSQL is the bottleneck: the same rows copied over one to four connections.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::environment::Environment;
use crate::report::{Figure, Goal, number};
use crate::service::WAIT_TIMEOUT;
use crate::{REPETITIONS, orders, procfs, repetition, stats};

/// Number of files with the rows, which one to four connections can share evenly.
const PARTS: usize = 12;
const MAX_CONNECTIONS: usize = 4;

/// Minimum speed-up, against one connection, that makes more connections worthwhile.
const MIN_SPEEDUP: f64 = 1.25;

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let count = env.orders;
    let files = save(env, count)?;
    let bytes = bytes_a_row(env, &files[0], count)?;
    let mut seconds = vec![Vec::new(); MAX_CONNECTIONS];
    let mut cpu = vec![Vec::new(); MAX_CONNECTIONS];
    for round in 0..REPETITIONS {
        repetition("parallel-copy", round);
        for connections in 1..=MAX_CONNECTIONS {
            let before = procfs::cpu_with_children(env.postgres.pid());
            let took = copy_in(env, &files, connections, count)?;
            let spent = procfs::cpu_with_children(env.postgres.pid()).saturating_sub(before);
            seconds[connections - 1].push(took);
            cpu[connections - 1].push(spent.as_secs_f64() * 1e6 / count as f64);
        }
    }
    files.iter().try_for_each(std::fs::remove_file)?;
    let rate = |connections: usize| count as f64 / stats::median(&seconds[connections - 1]);
    let note = (1..=MAX_CONNECTIONS).map(|connections| {
        format!(
            "{connections}: {} rows/s, {:.1} µs of PostgreSQL's CPU a row",
            number(rate(connections)),
            stats::median(&cpu[connections - 1])
        )
    });
    Ok(vec![Figure {
        bench: "parallel-copy",
        what: format!("psql \\copy in over {MAX_CONNECTIONS} connections at once"),
        unit: "rows/s",
        ours: vec![rate(MAX_CONNECTIONS)],
        limit: Some(("over one".to_owned(), vec![rate(1)])),
        goal: Goal::OfLimit(MIN_SPEEDUP),
        note: format!("{}; {bytes}", note.collect::<Vec<_>>().join("; ")),
    }])
}

/// Rows like the service's own, in files.
fn save(env: &mut Environment, count: u64) -> Result<Vec<PathBuf>> {
    let table = env.table(count)?;
    let mut files = Vec::new();
    for part in 0..PARTS {
        let file = env.temp_dir.path().join(format!("part-{part}.copy"));
        let copy = format!(
            "copy (select id, data from {table} where abs(hashtext(id)) % {PARTS} = {part}) to stdout (format binary)"
        );
        let status = env.psql_command(&copy).stdin(Stdio::null()).stdout(File::create(&file)?).status();
        ensure!(status.context("cannot run psql")?.success(), "psql could not copy out");
        files.push(file);
    }
    Ok(files)
}

/// Bytes of a row in the table with its index, and in the WAL, some time after a checkpoint.
fn bytes_a_row(env: &mut Environment, file: &Path, count: u64) -> Result<String> {
    let table = env.empty_table()?;
    let log = |env: &Environment| {
        anyhow::Ok(env.postgres.psql("select pg_current_wal_lsn() - '0/0'")?.trim().parse::<f64>()?)
    };
    env.settle(None)?;
    let before = log(env)?;
    let mut psql = env.psql_command(&format!("\\copy {table} from '{}' (format binary)", file.display()));
    ensure!(psql.status().context("cannot run psql")?.success(), "psql could not copy in");
    let (logged, rows) = (log(env)? - before, env.rows_in(&table)? as f64);
    let size =
        env.postgres.psql(&format!("select pg_total_relation_size('{table}')"))?.trim().parse::<f64>()?;
    let json = (0..count.min(20_000)).map(|number| orders::json(number).len()).sum::<usize>() as f64;
    env.settle(Some(&table))?;
    Ok(format!(
        "a row of {:.0} B of JSON: {:.0} B of table and index, {:.0} B of transaction log",
        json / count.min(20_000) as f64,
        size / rows,
        logged / rows
    ))
}

/// Seconds until all files are in a new table.
fn copy_in(env: &mut Environment, files: &[PathBuf], connections: usize, count: u64) -> Result<f64> {
    let table = env.empty_table()?;
    let begun = Instant::now();
    let mut running = Vec::new();
    for files in files.chunks(files.len() / connections) {
        let copies =
            files.iter().map(|file| format!("\\copy {table} from '{}' (format binary)", file.display()));
        let mut copies = copies.collect::<Vec<_>>().into_iter();
        let mut psql = env.psql_command(&copies.next().unwrap_or_default());
        psql.args(copies.flat_map(|copy| ["-c".to_owned(), copy]));
        running.push(psql.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot run psql")?);
    }
    for mut psql in running {
        ensure!(psql.wait()?.success(), "psql could not copy in");
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        begun.elapsed() < WAIT_TIMEOUT && env.rows_in(&table)? == count,
        "not all of {count} rows are in"
    );
    env.settle(Some(&table))?;
    Ok(seconds)
}
