//! `cargo xtask up` with real servers and a fake service: its output and its end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use devstack::{TempDir, free_port, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

struct Up {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    ports: [u16; 3],
}

fn command(temp_dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("ORDERD_DATA_DIR", temp_dir.path().join("data")).current_dir(temp_dir.path());
    command
}

fn up(temp_dir: &TempDir, behaviour: &str) -> Up {
    up_on(temp_dir, behaviour, [free_port(), free_port(), free_port()])
}

fn up_on(temp_dir: &TempDir, behaviour: &str, ports: [u16; 3]) -> Up {
    up_with(temp_dir, behaviour, ports, &[])
}

fn up_with(temp_dir: &TempDir, behaviour: &str, ports: [u16; 3], flags: &[&str]) -> Up {
    devstack::tools::ensure_postgres(&mut |line| eprintln!("{line}")).unwrap();
    devstack::tools::ensure_nats_server(&mut |line| eprintln!("{line}")).unwrap();
    let stand_in = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("examples").join("stand_in");
    let [http, postgres, nats] = ports.map(|port| port.to_string());
    let mut child = command(temp_dir)
        .args([
            "up",
            "--http-addr",
            &format!("127.0.0.1:{http}"),
            "--pg-port",
            &postgres,
            "--nats-port",
            &nats,
        ])
        .args(flags)
        .arg("--program")
        .arg(stand_in)
        .env("STAND_IN", behaviour)
        .env("DATABASE_URL", "postgres://elsewhere")
        .env("HTTP_TOKEN_FILE", "a token")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    read(child.stdout.take().unwrap(), "out", sender.clone());
    read(child.stderr.take().unwrap(), "err", sender);
    Up { child, lines, seen: Vec::new(), ports }
}

fn read(pipe: impl Read + Send + 'static, name: &'static str, sender: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(format!("{name}: {line}"));
        }
    });
}

impl Up {
    fn see(&mut self, wanted: &str) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(LIMIT)
                .unwrap_or_else(|_| panic!("no {wanted:?} in {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Waits for the `ready` line, and for all lines before it on stderr, which is read in parallel.
    fn wait_until_ready(&mut self) -> String {
        self.see("Ctrl-C stops everything");
        let is_ready = |line: &&String| line.contains("out: ready");
        self.seen.iter().find(is_ready).cloned().unwrap_or_else(|| self.see("out: ready"))
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit status; checks that nothing listens any more.
    fn end(&mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        for port in self.ports {
            assert!(
                wait_for(LIMIT, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()),
                "{port} is open"
            );
        }
        self.seen.extend(self.lines.iter());
        (status, std::mem::take(&mut self.seen))
    }
}

impl Drop for Up {
    /// Ends `up`, and so everything that it has started, also after a failed test.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn orderd(temp_dir: &TempDir) -> Output {
    command(temp_dir).args(["orderd", "show"]).env_remove("PG_PORT").output().unwrap()
}

#[test]
fn it_says_when_it_is_ready_and_stops_in_order() {
    let temp_dir = TempDir::new().unwrap();
    for signal in ["-INT", "-TERM"] {
        let mut up = up(&temp_dir, "");
        let [http, postgres, _] = up.ports;
        assert_eq!(up.see("stand-in with"), "err: stand-in with DATABASE_URL=");
        assert_eq!(up.wait_until_ready(), format!("out: ready http://127.0.0.1:{http}"));
        let lines_with = |words: &str| up.seen.iter().filter(|line| line.contains(words)).count();
        assert_eq!(lines_with(&format!("127.0.0.1:{http}")), 1, "{:#?}", up.seen);
        assert_eq!((lines_with("HTTP_TOKEN_FILE is set"), lines_with("a token")), (1, 0), "{:#?}", up.seen);

        let second = command(&temp_dir).arg("up").output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&second.stderr).contains("already runs"));
        let shown = orderd(&temp_dir);
        assert_eq!(shown.status.code(), Some(7));
        assert_eq!(String::from_utf8_lossy(&shown.stdout), format!("stand-in with PG_PORT={postgres}\n"));

        up.signal(signal);
        let (status, lines) = up.end();
        assert_eq!(status.code(), Some(0), "{lines:#?}");
        let line_of = |wanted: &str| lines.iter().position(|line| line.contains(wanted)).unwrap();
        assert!(line_of("stand-in drains") < line_of("orderd stopped"));
        assert!(line_of("orderd stopped") < line_of("NATS stopped"));
        assert!(line_of("NATS stopped") < line_of("PostgreSQL stopped"));
    }
    let shown = orderd(&temp_dir);
    assert_eq!(shown.status.code(), Some(1));
    let words = String::from_utf8_lossy(&shown.stderr);
    assert!(words.contains("no `cargo xtask up` is ready on") && words.lines().count() == 1, "{words}");
}

#[test]
fn a_service_that_ends_by_itself_stops_everything() {
    let temp_dir = TempDir::new().unwrap();
    let mut up = up(&temp_dir, "");
    up.wait_until_ready();
    let mut asked = TcpStream::connect((Ipv4Addr::LOCALHOST, up.ports[0])).unwrap();
    asked.write_all(b"GET /end HTTP/1.1\r\n\r\n").unwrap();
    up.see("exited unexpectedly");
    let (status, lines) = up.end();
    assert_eq!(status.code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("exit status: 4")), "{lines:#?}");
}

#[test]
fn a_server_that_ends_by_itself_stops_everything_and_says_why() {
    for (name, folder, log) in [("PostgreSQL", "postgres", "postgres.log"), ("NATS", "nats", "nats.log")] {
        let temp_dir = TempDir::new().unwrap();
        let mut up = up(&temp_dir, "");
        up.wait_until_ready();
        let program = if name == "NATS" { "nats-server" } else { "postgres" };
        kill_child_of(&up.child, program);
        let line = up.see(&format!("{name} ended: signal: 9"));
        let log = temp_dir.path().join("data").join(folder).join(log);
        assert!(
            line.contains(folder) && line.contains(&log.file_name().unwrap().to_string_lossy()[..]),
            "{line}"
        );
        let (status, lines) = up.end();
        assert_eq!(status.code(), Some(1));
        let last = std::fs::read_to_string(&log).unwrap();
        let last = last.lines().next_back().unwrap_or_default();
        assert!(lines.iter().any(|line| line.trim_end().ends_with(last)), "no {last:?} in {lines:#?}");
    }
}

#[test]
fn a_server_that_ended_is_named_although_the_service_does_not_drain() {
    let temp_dir = TempDir::new().unwrap();
    let mut up = up(&temp_dir, "stay");
    up.wait_until_ready();
    kill_child_of(&up.child, "nats-server");
    up.see("stand-in drains");
    up.signal("-INT");
    let (status, lines) = up.end();
    assert_eq!(status.code(), Some(1));
    for words in ["killed before it had drained", "err: error: NATS ended: signal: 9"] {
        assert!(lines.iter().any(|line| line.contains(words)), "no {words} in {lines:#?}");
    }
}

/// Kills the server that `up` has started with SIGKILL.
fn kill_child_of(up: &Child, program: &str) {
    let children =
        Command::new("ps").args(["-o", "pid=,comm=", "--ppid", &up.id().to_string()]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let is_it = |line: &&str| line.split_whitespace().nth(1).is_some_and(|name| name.starts_with(program));
    let line = children.lines().find(is_it).unwrap_or_else(|| panic!("no {program} in {children}"));
    let pid = line.split_whitespace().next().unwrap();
    assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
}

#[test]
fn a_service_that_does_not_start_stops_everything() {
    let temp_dir = TempDir::new().unwrap();
    let (status, lines) = up(&temp_dir, "refuse").end();
    assert_eq!(status.code(), Some(1));
    let told = "err: error: orderd ended while it was starting: exit status: 3; its log is above";
    assert!(lines.iter().any(|line| line == told), "{lines:#?}");
}

#[test]
fn a_model_that_does_not_fit_the_table_ends_it_with_the_reason() {
    let temp_dir = TempDir::new().unwrap();
    let (status, lines) = up(&temp_dir, "misfit").end();
    assert_eq!(status.code(), Some(1));
    let told = "err: error: orderd can't use this table: 5 of 5 rows";
    assert!(lines.iter().any(|line| line == told), "{lines:#?}");
}

/// The service may run in another folder.
#[test]
fn the_model_is_a_file_or_a_folder_here() {
    let temp_dir = TempDir::new().unwrap();
    std::fs::create_dir(temp_dir.path().join("samples")).unwrap();
    let mut up = up_with(&temp_dir, "", [free_port(), free_port(), free_port()], &["--model", "samples"]);
    let line = up.see("stand-in with MODEL=");
    let folder = Path::new(line.split_once('=').unwrap().1).canonicalize().unwrap();
    assert_eq!(folder, temp_dir.path().join("samples").canonicalize().unwrap());
    up.wait_until_ready();
    up.signal("-TERM");
    assert_eq!(up.end().0.code(), Some(0));
}

#[test]
fn a_long_start_says_what_it_waits_for() {
    let temp_dir = TempDir::new().unwrap();
    let mut up = up(&temp_dir, "wait");
    up.see("not ready yet: nats: no such host");
    up.signal("-INT");
    let (status, lines) = up.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

#[test]
fn a_second_signal_ends_a_service_that_does_not_drain() {
    let temp_dir = TempDir::new().unwrap();
    let mut up = up(&temp_dir, "stay");
    up.wait_until_ready();
    up.signal("-INT");
    up.see("stand-in drains");
    up.signal("-INT");
    let (status, lines) = up.end();
    assert_eq!(status.code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("killed before it had drained")), "{lines:#?}");
}

#[test]
fn nothing_outlives_one_that_is_killed() {
    let temp_dir = TempDir::new().unwrap();
    let mut up = up(&temp_dir, "");
    up.wait_until_ready();
    up.signal("-KILL");
    up.end();
    // The next start works despite its remains.
    let mut again = self::up(&temp_dir, "");
    again.wait_until_ready();
    again.signal("-TERM");
    assert_eq!(again.end().0.code(), Some(0));
}

#[test]
fn where_a_port_is_taken_the_next_one_is_used() {
    let temp_dir = TempDir::new().unwrap();
    let taken = free_port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
    let mut up = up_on(&temp_dir, "", [taken; 3]);
    let line = up.wait_until_ready();
    assert!(!line.ends_with(&format!(":{taken}")));
    assert_eq!(up.seen.iter().filter(|line| line.contains("is taken")).count(), 3, "{:#?}", up.seen);
    up.signal("-TERM");
    drop(listener);
    assert_eq!(up.end().0.code(), Some(0));
}
