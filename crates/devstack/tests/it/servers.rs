//! Starting, stopping, restarting, pausing and locking servers, also many at once.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use devstack::{
    Error, Nats, NatsOptions, Postgres, PostgresOptions, Prometheus, TempDir, Tls, tools, wait_for,
};

use crate::install;

fn processes_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let folders = entries.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
    folders.filter(|cwd| cwd.starts_with(folder)).count()
}

#[test]
fn postgres_keeps_committed_rows_through_kill_and_stop() {
    install();
    let mut postgres = Postgres::temporary(PostgresOptions::quick()).unwrap();
    let (port, data) = (postgres.port(), postgres.data_dir());
    postgres.psql("create table t (n int); insert into t values (1)").unwrap();
    postgres.kill();
    assert_eq!((postgres.pid(), processes_in(&data)), (0, 0), "no backend may outlive the kill");
    postgres.start_again().unwrap();
    postgres.psql("insert into t values (2)").unwrap();
    postgres.stop();
    postgres.start_again().unwrap();
    assert_eq!(postgres.psql("select count(*), current_database() from t").unwrap().trim(), "2|demo1");
    assert_eq!(postgres.port(), port);
    drop(postgres);
    assert!(!data.exists());
    assert_eq!(processes_in(&data), 0);
}

#[test]
fn a_killed_postgres_breaks_off_a_statement_that_runs() {
    install();
    let mut postgres = Postgres::temporary(PostgresOptions::quick()).unwrap();
    let (port, data) = (postgres.port().to_string(), postgres.data_dir());
    let psql = tools::find_postgres().unwrap().join("psql");
    let mut sleeper = Command::new(psql)
        .stderr(Stdio::null())
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", "demo1", "-c", "select pg_sleep(600)"])
        .spawn()
        .unwrap();
    let active = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    assert!(wait_for(Duration::from_secs(60), || postgres.psql(active).unwrap().trim() == "1"));
    postgres.kill();
    assert_eq!(processes_in(&data), 0);
    assert!(!sleeper.wait().unwrap().success());
}

#[test]
fn a_paused_postgres_answers_only_when_resumed() {
    install();
    let postgres = Postgres::temporary(PostgresOptions::quick()).unwrap();
    postgres.pause();
    thread::scope(|scope| {
        let answer = scope.spawn(|| postgres.psql("select 7"));
        assert!(!wait_for(Duration::from_millis(200), || answer.is_finished()));
        postgres.resume();
        assert_eq!(answer.join().unwrap().unwrap().trim(), "7");
    });
    // A paused server ends on drop, too.
    postgres.pause();
}

#[test]
fn a_password_is_demanded_and_can_be_changed() {
    install();
    let options = PostgresOptions { password: Some("o'ne".to_owned()), ..PostgresOptions::quick() };
    let mut postgres = Postgres::temporary(options).unwrap();
    postgres.set_password("two").unwrap();
    assert_eq!(postgres.psql("select 1").unwrap().trim(), "1");
    assert!(postgres.url().contains("postgres:two@"));
    let old = Command::new(tools::find_postgres().unwrap().join("psql"))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &postgres.port().to_string(),
            "-U",
            "postgres",
            "-c",
            "select 1",
            "demo1",
        ])
        .env("PGPASSWORD", "o'ne")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&old.stderr).contains("password authentication failed"));
}

#[test]
fn tls_is_demanded_where_there_is_a_certificate() {
    install();
    let temp_dir = TempDir::new().unwrap();
    let (certificate, key) = (temp_dir.path().join("crt.pem"), temp_dir.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout"])
        .args([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls = Some(Tls { certificate, key });
    let postgres = Postgres::temporary(PostgresOptions { tls, ..PostgresOptions::quick() }).unwrap();
    let used = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(postgres.psql(used).unwrap().trim(), "t");
    let plain = Command::new(tools::find_postgres().unwrap().join("psql"))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &postgres.port().to_string(),
            "-U",
            "postgres",
            "-c",
            "select 1",
            "demo1",
        ])
        .env("PGSSLMODE", "disable")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&plain.stderr).contains("no encryption"));
}

#[test]
fn settings_and_waiting_for_the_disk_are_as_asked() {
    install();
    let settings = vec![("max_connections".to_owned(), "17".to_owned())];
    let postgres = Postgres::temporary(PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
    let shown = postgres.psql("show max_connections; show fsync; show server_encoding").unwrap();
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["17", "on", "UTF8"]);
    assert_eq!(
        postgres.psql("select datcollate from pg_database where datname = 'demo1'").unwrap().trim(),
        "C.UTF-8"
    );
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_so() {
    install();
    let first = Postgres::temporary(PostgresOptions::quick()).unwrap();
    let options = PostgresOptions { port: Some(first.port()), ..PostgresOptions::quick() };
    let error = Postgres::temporary(options).err().unwrap();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
    let options = NatsOptions { port: Some(first.port()), ..NatsOptions::default() };
    let error = Nats::temporary(options).err().unwrap();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
}

#[test]
fn many_start_at_once() {
    install();
    let ports: Vec<u16> = thread::scope(|scope| {
        let starts: Vec<_> =
            (0..6).map(|_| scope.spawn(|| Postgres::temporary(PostgresOptions::quick()).unwrap())).collect();
        let servers: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        servers.iter().map(Postgres::port).collect()
    });
    let mut different = ports.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), ports.len());
}

#[test]
fn nats_starts_again_on_its_port_with_its_streams_folder() {
    install();
    let options = NatsOptions { sync_always: true, monitoring: true, ..NatsOptions::default() };
    let mut nats = Nats::temporary(options).unwrap();
    let port = nats.port();
    assert!(nats.log().contains("JetStream"), "{}", nats.log());
    assert!(nats.monitoring_port().is_some());
    nats.pause();
    nats.resume();
    nats.kill();
    assert_eq!(nats.pid(), 0);
    nats.start_again().unwrap();
    nats.stop();
    nats.start_again().unwrap();
    assert_eq!(nats.port(), port);
    assert!(nats.store_dir().join("jetstream").is_dir());
}

#[test]
fn nats_says_what_is_wrong_with_its_configuration() {
    install();
    let options = NatsOptions { extra_config: "no_such_thing: 1\n".to_owned(), ..NatsOptions::default() };
    let error = Nats::temporary(options).err().unwrap().to_string();
    assert!(error.contains("no_such_thing"), "{error}");
}

#[test]
fn prometheus_starts_or_says_why_not() {
    tools::ensure_prometheus(&mut |line| eprintln!("{line}")).unwrap();
    let temp_dir = TempDir::new().unwrap();
    let config = temp_dir.path().join("prometheus.yml");
    std::fs::write(&config, "global:\n  scrape_interval: 1s\n").unwrap();
    let prometheus = Prometheus::start(&temp_dir.path().join("data"), &config, None).unwrap();
    assert!(!devstack::is_free(("127.0.0.1", prometheus.port())));
    std::fs::write(&config, "global: 1\n").unwrap();
    let error = Prometheus::start(&temp_dir.path().join("other"), &config, None).err().unwrap().to_string();
    assert!(error.starts_with("Prometheus ended while it was starting"), "{error}");
    assert!(tools::find_promtool().is_some());
}
