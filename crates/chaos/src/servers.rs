//! The servers of a round: one NATS server and one PostgreSQL, or several of each, of which one is struck and
//! another takes its place.
//!
//! PostgreSQL runs with `fsync` off, except on disks whose power can fail: a killed process doesn't lose what the
//! kernel already has.

use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{Nats, NatsCluster, NatsOptions, Postgres, PostgresOptions, PoweredDisk};

use crate::damage::Damage;
use crate::plan::{Disks, Plan, Target};

/// Number of servers that keep each stream.
const NODES: usize = 3;

/// After a longer outage of the primary, its standby is promoted. A shorter pause or a fast restart goes unnoticed.
const GIVEN_UP: Duration = Duration::from_secs(1);

pub(crate) struct Servers {
    nats: Brokers,
    /// The node that is struck: the one that led the stream.
    struck: usize,
    postgres: Postgres,
    /// Has each commit before it is answered, unless it is to be behind.
    standby: Option<Postgres>,
    is_standby_behind: bool,
    /// Dropped after the servers that use them.
    disks: Option<PoweredDisks>,
}

/// One for each server.
struct PoweredDisks {
    nats: PoweredDisk,
    postgres: PoweredDisk,
}

/// Room for a round: PostgreSQL keeps its log besides the table.
const NATS_MIB: u64 = 256;
const POSTGRES_MIB: u64 = 512;

enum Brokers {
    One(Box<Nats>),
    Cluster(NatsCluster),
}

impl Servers {
    /// Starts them as the plan says.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let quick = PostgresOptions { settings: settings(plan), ..PostgresOptions::quick() };
        if let Disks::Powered { sync_always } = plan.disks {
            return Self::on_disks(quick, sync_always);
        }
        let postgres = Postgres::temporary(quick)?;
        let (nats, standby) = if plan.clusters {
            let standby = postgres.standby()?;
            wait_for_standby(&postgres, plan.is_standby_behind)?;
            (Brokers::Cluster(NatsCluster::temporary(NODES)?), Some(standby))
        } else {
            (Brokers::One(Box::new(Nats::temporary(NatsOptions::default())?)), None)
        };
        let is_standby_behind = plan.is_standby_behind;
        Ok(Self { nats, struck: 0, postgres, standby, is_standby_behind, disks: None })
    }

    fn on_disks(options: PostgresOptions, sync_always: bool) -> Result<Self> {
        let disks =
            PoweredDisks { nats: PoweredDisk::new(NATS_MIB)?, postgres: PoweredDisk::new(POSTGRES_MIB)? };
        let options = PostgresOptions { fsync: true, ..options };
        let postgres = Postgres::start(&disks.postgres.path().join("postgres"), options)?;
        let options = NatsOptions { sync_always, ..NatsOptions::default() };
        let nats = Box::new(Nats::start(&disks.nats.path().join("nats"), options)?);
        // A template that nobody has synced, and folders that were there long before any failure.
        disks.postgres.write_out()?;
        disks.nats.write_out()?;
        let (nats, disks) = (Brokers::One(nats), Some(disks));
        Ok(Self { nats, struck: 0, postgres, standby: None, is_standby_behind: false, disks })
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

    /// It comes back, or its standby takes its place: then it is ended permanently, whatever it still would do, and
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
        wait_for_standby(&self.postgres, self.is_standby_behind)
    }

    /// A standby that is to be behind gets nothing more from now on, if it is promoted after a primary that is away for
    /// so long.
    pub(crate) fn hold_standby_back(&self, away: Duration) -> Result<()> {
        match &self.standby {
            Some(standby) if self.is_standby_behind && away >= GIVEN_UP => Ok(standby.stop_following()?),
            _ => Ok(()),
        }
    }

    /// NATS's disk has all that was written until now.
    pub(crate) fn write_out(&self) -> Result<()> {
        self.disks.as_ref().map_or(Ok(()), |disks| Ok(disks.nats.write_out()?))
    }

    /// Stops a server whose power is about to fail: from now on it acknowledges nothing.
    pub(crate) fn freeze(&mut self, target: Target) {
        match target {
            Target::Nats => self.pause_nats(),
            Target::Postgres => self.pause_postgres(),
            Target::Service => {}
        }
    }

    /// What the disk of a stopped server has now is all that is left of it.
    pub(crate) fn lose_power(&mut self, target: Target) -> Result<()> {
        let disks = self.disks.as_ref().context("no disk here has a power that can fail")?;
        match target {
            Target::Nats => {
                disks.nats.capture()?;
                self.kill_nats();
            }
            Target::Postgres => {
                disks.postgres.capture()?;
                self.postgres.lose_power();
            }
            Target::Service => {}
        }
        Ok(())
    }

    /// Starts a server on what its disk has.
    pub(crate) fn power_on(&mut self, target: Target) -> Result<()> {
        let disks = self.disks.as_ref().context("no disk here has a power that can fail")?;
        match target {
            Target::Nats => {
                disks.nats.restore()?;
                self.mend_nats()
            }
            Target::Postgres => {
                disks.postgres.restore()?;
                Ok(self.postgres.start_again()?)
            }
            Target::Service => Ok(()),
        }
    }

    /// Kills NATS, and damages a file of its store.
    pub(crate) fn damage_nats(&mut self, damage: Damage) -> Result<()> {
        self.kill_nats();
        damage.strike(&self.struck().store_dir().join("jetstream"))
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

fn settings(plan: &Plan) -> Vec<(String, String)> {
    if plan.synchronous_commit {
        return Vec::new();
    }
    // A kill loses what was committed in up to three times this.
    let off = [("synchronous_commit", "off"), ("wal_writer_delay", "500ms")];
    off.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

fn wait_for_standby(postgres: &Postgres, is_behind: bool) -> Result<()> {
    if is_behind {
        postgres.wait_for_asynchronous_standby()?;
    } else {
        postgres.wait_for_standby()?;
    }
    Ok(())
}

/// A connection to whichever of them takes writes.
pub(crate) fn postgres_url(ports: &[u16]) -> String {
    let hosts = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write")
}
