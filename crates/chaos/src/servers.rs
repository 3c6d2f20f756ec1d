//! The servers of a round: one NATS server and one PostgreSQL, or several of each, of which one is struck and
//! another takes its place.
//!
//! PostgreSQL runs with `fsync` off: a killed process doesn't lose what the kernel already has, only a
//! machine without power does, and that is not what is done here.

use std::time::Duration;

use anyhow::Result;
use devstack::{Nats, NatsCluster, NatsOptions, Postgres, PostgresOptions};

/// Streams are kept by so many.
const NODES: usize = 3;

/// A PostgreSQL that is away for longer has been given up: its standby takes its place. A shorter pause or a fast
/// new start nobody has noticed.
const GIVEN_UP: Duration = Duration::from_secs(1);

pub(crate) struct Servers {
    nats: Brokers,
    /// The node that is struck: the one that led the stream.
    struck: usize,
    postgres: Postgres,
    /// Has each commit before it is answered.
    standby: Option<Postgres>,
}

enum Brokers {
    One(Box<Nats>),
    Cluster(NatsCluster),
}

impl Servers {
    /// Starts them; with clusters, three of NATS, and a standby.
    pub(crate) fn start(clusters: bool) -> Result<Self> {
        let postgres = Postgres::temporary(PostgresOptions::quick())?;
        let (nats, standby) = if clusters {
            let standby = postgres.standby()?;
            postgres.wait_for_standby()?;
            (Brokers::Cluster(NatsCluster::temporary(NODES)?), Some(standby))
        } else {
            (Brokers::One(Box::new(Nats::temporary(NatsOptions::default())?)), None)
        };
        Ok(Self { nats, struck: 0, postgres, standby })
    }

    fn nodes(&self) -> &[Nats] {
        match &self.nats {
            Brokers::One(nats) => std::slice::from_ref(&**nats),
            Brokers::Cluster(cluster) => &cluster.nodes,
        }
    }

    fn struck(&mut self) -> &mut Nats {
        match &mut self.nats {
            Brokers::One(nats) => nats,
            Brokers::Cluster(cluster) => &mut cluster.nodes[self.struck],
        }
    }

    /// The node with this name is the next one that is struck.
    pub(crate) fn aim(&mut self, leader: &str) {
        if let Brokers::Cluster(cluster) = &self.nats {
            self.struck = cluster.place(leader).unwrap_or(self.struck);
        }
    }

    pub(crate) fn nats_ports(&self) -> Vec<u16> {
        self.nodes().iter().map(Nats::port).collect()
    }

    /// Where clients that nothing breaks connect.
    pub(crate) fn nats_urls(&self) -> Vec<String> {
        self.nodes().iter().map(Nats::url).collect()
    }

    /// The standby takes over the primary's part, and not its port.
    pub(crate) fn postgres_ports(&self) -> Vec<u16> {
        std::iter::once(&self.postgres).chain(&self.standby).map(Postgres::port).collect()
    }

    /// The one that takes writes, now or later.
    pub(crate) fn postgres_url(&self) -> String {
        postgres_url(&self.postgres_ports())
    }

    pub(crate) fn kill_postgres(&mut self) {
        self.postgres.kill();
    }

    pub(crate) fn pause_postgres(&self) {
        self.postgres.pause();
    }

    /// It comes back, or its standby takes its place: then it is ended for good, whatever it still would do, and
    /// another one follows the new primary.
    pub(crate) fn mend_postgres(&mut self, away: Duration) -> Result<()> {
        let Some(standby) = self.standby.as_mut().filter(|_| away >= GIVEN_UP) else {
            self.postgres.resume();
            if self.postgres.pid() == 0 {
                self.postgres.start_again()?;
            }
            return Ok(());
        };
        self.postgres.kill();
        standby.promote()?;
        std::mem::swap(&mut self.postgres, standby);
        standby.follow(&self.postgres)?;
        Ok(self.postgres.wait_for_standby()?)
    }

    pub(crate) fn kill_nats(&mut self) {
        self.struck().kill();
    }

    pub(crate) fn pause_nats(&mut self) {
        self.struck().pause();
    }

    pub(crate) fn mend_nats(&mut self) -> Result<()> {
        let nats = self.struck();
        nats.resume();
        if nats.pid() == 0 {
            nats.start_again()?;
        }
        Ok(())
    }
}

/// A connection to whichever of them takes writes.
pub(crate) fn postgres_url(ports: &[u16]) -> String {
    let hosts = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write")
}
