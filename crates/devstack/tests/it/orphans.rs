//! If a process that starts servers is killed, its servers end too.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, wait_for};

use crate::install;

/// Set when this program runs as the process to be killed.
const ROLE: &str = "DEVSTACK_TEST_STARTER";

/// Not a test: the test below runs it in another process.
#[test]
fn starter() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let postgres = Postgres::temporary(PostgresOptions::quick()).unwrap();
    let nats = Nats::temporary(NatsOptions::default()).unwrap();
    if std::env::var(ROLE).is_ok_and(|role| role == "paused") {
        postgres.pause();
        nats.pause();
    }
    eprintln!("pids {} {}", postgres.pid(), nats.pid());
    std::thread::sleep(Duration::from_secs(600));
}

fn kill_starter(role: &str) {
    install();
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "orphans::starter", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(starter.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.into_iter().find(|line| line.starts_with("pids ")).unwrap();
    let pids: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    starter.kill().unwrap();
    starter.wait().unwrap();
    for pid in pids {
        assert!(wait_for(Duration::from_secs(60), || !runs(pid)), "{pid} outlives its starter");
    }
}

/// Whether a process exists and is not a zombie.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|line| line.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

#[test]
fn servers_end_when_their_starter_is_killed() {
    kill_starter("running");
}

#[test]
fn paused_servers_end_when_their_starter_is_killed() {
    kill_starter("paused");
}
