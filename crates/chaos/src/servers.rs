//! The servers of a round: one NATS server and one PostgreSQL, or a cluster of each, in which another server replaces
//! the one that is hit.
//!
//! PostgreSQL runs with `fsync` off, except on disks whose power can fail: a killed process doesn't lose data that the
//! kernel has.

use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{Nats, NatsCluster, NatsOptions, Postgres, PostgresOptions, PowerFailDisk};

use crate::nats_file_damage::Damage;
use crate::plan::{Disks, Plan, Target};

/// Number of servers that keep each stream.
const NODES: usize = 3;

/// An outage of the primary of at least this length promotes the standby; a shorter pause or a fast restart does not.
const GIVEN_UP: Duration = Duration::from_secs(1);

pub(crate) struct Servers {
    nats: Brokers,
    /// The node that faults hit: the stream's leader.
    struck: usize,
    postgres: Postgres,
    /// Synchronous, unless it is to be behind.
    standby: Option<Postgres>,
    is_standby_behind: bool,
    /// Dropped after the servers that use them.
    disks: Option<PowerFailDisks>,
}

/// One disk for each server.
struct PowerFailDisks {
    nats: PowerFailDisk,
    postgres: PowerFailDisk,
}

/// Sizes that suffice for a round; PostgreSQL also needs space for its WAL.
const NATS_MIB: u64 = 256;
const POSTGRES_MIB: u64 = 512;

enum Brokers {
    One(Box<Nats>),
    Cluster(NatsCluster),
}

impl Servers {
    /// Starts the servers of the plan.
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
        let disks = PowerFailDisks {
            nats: PowerFailDisk::new(NATS_MIB)?,
            postgres: PowerFailDisk::new(POSTGRES_MIB)?,
        };
        let options = PostgresOptions { fsync: true, ..options };
        let postgres = Postgres::start(&disks.postgres.path().join("postgres"), options)?;
        let options = NatsOptions { sync_always, ..NatsOptions::default() };
        let nats = Box::new(Nats::start(&disks.nats.path().join("nats"), options)?);
        // Syncs the copied template and the folders, which must survive any failure.
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

    /// Makes the node with this name the target of the next fault.
    pub(crate) fn aim(&mut self, leader: &str) {
        if let Brokers::Cluster(cluster) = &self.nats {
            self.struck = cluster.index_of(leader).unwrap_or(self.struck);
        }
    }

    pub(crate) fn nats_ports(&self) -> Vec<u16> {
        self.nodes().iter().map(Nats::port).collect()
    }

    /// Addresses that bypass the breakers.
    pub(crate) fn nats_urls(&self) -> Vec<String> {
        self.nodes().iter().map(Nats::url).collect()
    }

    /// A promoted standby has another port than the primary.
    pub(crate) fn postgres_ports(&self) -> Vec<u16> {
        std::iter::once(&self.postgres).chain(&self.standby).map(Postgres::port).collect()
    }

    /// A URL that leads to the server that accepts writes.
    pub(crate) fn postgres_url(&self) -> String {
        postgres_url(&self.postgres_ports())
    }

    pub(crate) fn kill_postgres(&mut self) {
        self.postgres.kill();
    }

    pub(crate) fn pause_postgres(&self) {
        self.postgres.pause();
    }

    /// Restarts the primary, or promotes its standby: then the old primary is killed permanently, and a new standby
    /// follows.
    pub(crate) fn recover_postgres(&mut self, away: Duration) -> Result<()> {
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

    /// Disconnects a standby that is to be behind, if an outage this long promotes it.
    pub(crate) fn hold_standby_back(&self, away: Duration) -> Result<()> {
        match &self.standby {
            Some(standby) if self.is_standby_behind && away >= GIVEN_UP => Ok(standby.stop_following()?),
            _ => Ok(()),
        }
    }

    /// Syncs NATS's disk.
    pub(crate) fn write_out(&self) -> Result<()> {
        self.disks.as_ref().map_or(Ok(()), |disks| Ok(disks.nats.write_out()?))
    }

    /// Stops a server whose power is about to fail, so that it acknowledges nothing more.
    pub(crate) fn freeze(&mut self, target: Target) {
        match target {
            Target::Nats => self.pause_nats(),
            Target::Postgres => self.pause_postgres(),
            Target::Service => {}
        }
    }

    /// Reduces a stopped server's data to the current contents of its disk.
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

    /// Starts a server with its disk.
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
    // A kill loses commits of up to three times this delay.
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

/// A URL for the server that accepts writes.
pub(crate) fn postgres_url(ports: &[u16]) -> String {
    let hosts = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    format!("postgresql://postgres@{hosts}/demo1?target_session_attrs=read-write")
}
