//! The idle service: its CPU, its start, its size.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::REPETITIONS;
use crate::environment::Environment;
use crate::report::{Figure, Goal};
use crate::service::{Service, Setup};
use crate::{procfs, repetition};

const WATCHED: Duration = Duration::from_secs(10);

/// Time for background work of the startup to finish.
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) fn run(env: &mut Environment) -> Result<Vec<Figure>> {
    let table = env.empty_table()?;
    let mut ready = Vec::new();
    for number in 0..REPETITIONS {
        repetition("start with an empty table", number);
        let service = Service::start(env, &Setup::serving(&table))?;
        ready.push(service.wait_ready()?.as_secs_f64() * 1e3);
        service.stop()?;
    }
    let cpu = cpu(env, &table)?;
    let (size, stripped) = sizes(env)?;
    let note = stripped.map_or_else(String::new, |stripped| format!("{stripped:.1} MB of it when stripped"));
    Ok(vec![
        figure("idle, CPU", "% of a core", vec![cpu], 0.1, format!("over {} s", WATCHED.as_secs())),
        figure("start to ready with an empty table", "ms", ready, 100.0, String::new()),
        figure("size of the program", "MB", vec![size], 20.0, note),
    ])
}

fn figure(what: &str, unit: &'static str, ours: Vec<f64>, most: f64, note: String) -> Figure {
    Figure {
        bench: "footprint",
        what: what.to_owned(),
        unit,
        ours,
        limit: None,
        goal: Goal::Below(most),
        note,
    }
}

/// CPU in percent of a core.
fn cpu(env: &Environment, table: &str) -> Result<f64> {
    let service = Service::start(env, &Setup::serving(table))?;
    service.wait_ready()?;
    std::thread::sleep(SETTLED);
    let before = procfs::cpu(service.pid());
    std::thread::sleep(WATCHED);
    let used = procfs::cpu(service.pid()).saturating_sub(before);
    service.stop()?;
    Ok(used.as_secs_f64() / WATCHED.as_secs_f64() * 100.0)
}

/// Size of the program in MB, as built and stripped.
fn sizes(env: &Environment) -> Result<(f64, Option<f64>)> {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let whole = megabytes(std::fs::metadata(&env.program)?.len());
    let target = env.temp_dir.path().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&target).arg(&env.program).status();
    let stripped = status.is_ok_and(|status| status.success());
    let stripped =
        stripped.then(|| std::fs::metadata(&target)).transpose()?.map(|file| megabytes(file.len()));
    Ok((whole, stripped))
}
