//! The guarantees of devstack, tested with real servers. One module for each.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod breaker;
mod orphans;
mod placement;
mod servers;
mod service;

use devstack::tools;

/// Makes sure that the servers' programs are there.
fn install() {
    tools::ensure_postgres(&mut |line| eprintln!("{line}")).unwrap();
    tools::ensure_nats_server(&mut |line| eprintln!("{line}")).unwrap();
}
