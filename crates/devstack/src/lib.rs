//! Private servers for tests, benches, chaos rounds and `cargo xtask up`.
//!
//! [`Postgres`], [`Nats`] and [`Prometheus`] each run in a separate folder on a free port of 127.0.0.1, and end with
//! the process that started them, also when that is killed. [`breaker`] disturbs the connection between a client and a
//! server as networks do. [`tools`] finds or installs the servers' programs; [`cargo`] builds the service.

pub mod breaker;
pub mod cargo;
mod error;
mod process_tree;
mod reaper;
mod nats;
mod nats_cluster;
mod ports;
mod postgres;
mod power_fail_disk;
mod process;
mod prometheus;
mod temp_dir;
mod small_disk;
mod stan;
pub mod tools;
mod run_as;
mod wait;

pub use error::Error;
pub use nats::{Nats, NatsOptions};
pub use nats_cluster::NatsCluster;
pub use ports::{free_port, is_free};
pub use postgres::{Postgres, PostgresOptions, Tls};
pub use power_fail_disk::PowerFailDisk;
pub use process::{Launch, Process};
pub use prometheus::Prometheus;
pub use run_as::{User, raise_file_limit};
pub use rustix::process::Signal;
pub use small_disk::SmallDisk;
pub use stan::Stan;
pub use temp_dir::TempDir;
pub use wait::{wait_for, wait_until};
