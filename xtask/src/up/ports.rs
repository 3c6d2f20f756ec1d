//! The port of each part: the requested one, or the next free one.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use devstack::{Error, is_free};

use crate::say;

/// Maximum number of retries if another process takes a port between our check and the server's start.
const TRIES: usize = 10;

/// Starts a server of 127.0.0.1 on the requested port or the next free one.
pub(super) fn start_at<T>(
    name: &str,
    port: u16,
    mut start: impl FnMut(u16) -> Result<T, Error>,
) -> Result<T> {
    let mut candidate = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for _ in 1..TRIES {
        candidate = free(name, candidate)?;
        match start(candidate.port()) {
            Err(Error::PortTaken { .. }) => {}
            result => return result.with_context(|| format!("cannot start {name}")),
        }
    }
    start(candidate.port()).with_context(|| format!("cannot start {name}"))
}

/// The requested address, or the one with the next free port, which it reports.
pub(super) fn free(name: &str, asked: SocketAddr) -> Result<SocketAddr> {
    let found =
        next_free(asked).with_context(|| format!("cannot find a free port for {name} at {}", asked.ip()))?;
    if found != asked {
        say(&format!("{name}: {asked} is taken, {found} is used instead"));
    }
    Ok(found)
}

/// The address at which this machine reaches a listener on all addresses.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

fn next_free(asked: SocketAddr) -> Option<SocketAddr> {
    let ports = asked.port().max(1)..=u16::MAX;
    let mut addresses = ports.map(|port| SocketAddr::new(asked.ip(), port));
    addresses.find(|address| is_free(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let port = devstack::free_port();
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(next_free(asked), Some(asked));
        let _listener = std::net::TcpListener::bind(asked).unwrap();
        assert!(next_free(asked).unwrap().port() > port);
    }

    #[test]
    fn a_port_lost_to_somebody_faster_is_given_up() {
        let port = devstack::free_port();
        let mut listeners = Vec::new();
        let started = start_at("it", port, |tried| {
            listeners.push(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, tried)).unwrap());
            let taken = Error::PortTaken { name: "it".to_owned(), port: tried };
            if listeners.len() < 3 { Err(taken) } else { Ok(tried) }
        });
        assert!(started.unwrap() >= port + 2);
    }
}
