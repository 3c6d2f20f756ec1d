//! Processes of the caller: exit status, log, end by signal.

use std::time::Duration;

use devstack::{Error, Launch, Process, Signal, TempDir};

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str, temp_dir: &TempDir) -> Launch {
    Launch {
        args: ["-c", script].map(Into::into).to_vec(),
        envs: vec![("WORD".into(), "hello".into())],
        log: Some(temp_dir.path().join("log")),
        ..Launch::new("shell", "/bin/sh", temp_dir.path())
    }
}

#[test]
fn its_exit_status_and_its_words_are_known() {
    let temp_dir = TempDir::new().unwrap();
    let mut process = Process::spawn(shell("echo $WORD; exit 3", &temp_dir)).unwrap();
    assert_eq!(process.wait(LIMIT).unwrap().code(), Some(3));
    assert_eq!(process.log(), "hello\n");
    assert!(matches!(process.check_starting(), Err(Error::Ended { log, .. }) if log == "hello"));
    let second = Process::spawn(shell("echo again; exit 0", &temp_dir)).unwrap();
    assert!(devstack::wait_for(LIMIT, || second.has_ended()));
    assert_eq!(second.log(), "again\n");
}

#[test]
fn process_that_is_stopped_may_clean_up_before_it_ends() {
    let temp_dir = TempDir::new().unwrap();
    let script = "trap 'echo tidy; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = Process::spawn(shell(script, &temp_dir)).unwrap();
    assert!(devstack::wait_for(LIMIT, || process.log().contains("ready")));
    assert!(process.end(Signal::TERM).unwrap().success());
    assert_eq!(process.log(), "ready\ntidy\n");
}

#[test]
fn process_that_ignores_the_stop_is_killed() {
    let temp_dir = TempDir::new().unwrap();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    let grace = Duration::from_millis(50);
    let mut process = Process::spawn(Launch { grace, ..shell(script, &temp_dir) }).unwrap();
    assert!(devstack::wait_for(LIMIT, || process.log().contains("ready")));
    assert_eq!(process.end(Signal::TERM).unwrap().code(), None);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let temp_dir = TempDir::new().unwrap();
    let mut process = Process::spawn(Launch { program: "/no/such".into(), ..shell("", &temp_dir) }).unwrap();
    assert_eq!(process.wait(LIMIT).unwrap().code(), Some(127));
    assert!(process.check_starting().unwrap_err().to_string().contains("/no/such"));
}
