//! Runs the service with private servers: it must read orders and stop cleanly.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use devstack::{
    Launch, Nats, NatsOptions, Postgres, PostgresOptions, Process, Signal, TempDir, free_port, wait_for,
};

use super::output_of;
use crate::say;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(15);
const ORDERS: usize = 100;

/// What the service needs.
pub(super) struct Servers {
    postgres: Postgres,
    nats: Nats,
    http: u16,
}

impl Servers {
    pub(super) fn start() -> Result<Self> {
        let postgres = Postgres::temporary(PostgresOptions::quick())?;
        let nats = Nats::temporary(NatsOptions::default())?;
        Ok(Self { postgres, nats, http: free_port() })
    }

    /// Where they are, as lines of an environment file.
    pub(super) fn settings(&self) -> [String; 3] {
        [
            format!("HTTP_ADDR=127.0.0.1:{}", self.http),
            format!("NATS_PORT={}", self.nats.port()),
            format!("PG_PORT={}", self.postgres.port()),
        ]
    }

    /// Starts the service, and runs `orderd` with other arguments beside it; each by the command that `command` makes of
    /// the arguments.
    pub(super) fn try_service(&self, command: impl Fn(&[&str]) -> Vec<String>) -> Result<()> {
        let serve = command(&["serve"]);
        let temp_dir = TempDir::new()?;
        let mut launch = Launch::new("orderd", &serve[0], temp_dir.path());
        launch.args = serve[1..].iter().map(Into::into).collect();
        launch.log = Some(temp_dir.path().join("log"));
        launch.grace = STOP;
        let mut service = Process::spawn(launch)?;
        if let Err(error) = self.takes_orders(|args| output_of(&command(args))) {
            bail!("{error:#}; its log: {}", service.log());
        }
        let status = service.end(Signal::TERM).and_then(|status| status.code());
        ensure!(status == Some(0), "it stopped with {status:?}: {}", service.log());
        say(&format!("took {ORDERS} orders, verified them, stopped with 0"));
        Ok(())
    }

    fn takes_orders(&self, orderd: impl Fn(&[&str]) -> Result<String>) -> Result<()> {
        ensure!(wait_for(START, || orderd(&["check"]).is_ok()), "it does not get ready");
        orderd(&["publish", "--count", &ORDERS.to_string()])?;
        let rows = || self.postgres.psql("select count(*) from public.orders2").unwrap_or_default();
        ensure!(wait_for(START, || rows().trim() == ORDERS.to_string()), "{} rows", rows().trim());
        orderd(&["verify"])?;
        Ok(())
    }
}
