//! The servers started, ended and started again.

use devstack::{Nats, NatsOptions, Postgres, PostgresOptions, tools};

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn install() {
    tools::ensure_postgres(&mut |line| eprintln!("{line}")).unwrap();
    tools::ensure_nats_server(&mut |line| eprintln!("{line}")).unwrap();
}

#[test]
fn postgres_keeps_committed_rows_through_kill_and_stop() {
    install();
    let mut postgres = Postgres::temporary(PostgresOptions::quick()).unwrap();
    postgres.psql("create table t (n int); insert into t values (1)").unwrap();
    postgres.kill();
    postgres.start_again().unwrap();
    postgres.psql("insert into t values (2)").unwrap();
    postgres.stop();
    postgres.start_again().unwrap();
    assert_eq!(postgres.psql("select count(*), current_database() from t").unwrap().trim(), "2|demo1");
}

#[test]
fn nats_starts_again_on_its_port() {
    install();
    let mut nats = Nats::temporary(NatsOptions { sync_always: true, ..NatsOptions::default() }).unwrap();
    let port = nats.port();
    nats.kill();
    nats.start_again().unwrap();
    assert_eq!(nats.port(), port);
    assert!(nats.log().contains("JetStream"), "{}", nats.log());
}
