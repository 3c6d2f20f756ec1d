//! Where each part listens: at the asked port, or at the next free one where that is taken.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use devstack::{Prometheus, is_free};

use super::Options;
use crate::say;

const PROMETHEUS: u16 = 9090;

/// The addresses of this run.
pub(super) struct Places {
    pub(super) http: SocketAddr,
    pub(super) postgres: u16,
    pub(super) nats: u16,
    prometheus: u16,
}

impl Places {
    pub(super) fn find(options: &Options) -> Result<Self> {
        let mut taken = Vec::new();
        let mut at = |name, asked: SocketAddr| -> Result<SocketAddr> {
            let found =
                next_free(asked, &taken).with_context(|| format!("cannot find a free port for {name}"))?;
            if found != asked {
                say(&format!("{name}: {asked} is taken, {found} is used instead"));
            }
            taken.push(found.port());
            Ok(found)
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let postgres = at("PostgreSQL", local(options.pg_port))?.port();
        let nats = at("NATS", local(options.nats_port))?.port();
        let http = at("orderd", options.http_addr)?;
        let prometheus = if options.prometheus { at("Prometheus", local(PROMETHEUS))?.port() } else { 0 };
        Ok(Self { http, postgres, nats, prometheus })
    }

    /// The service's settings, as environment variables.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let pairs = [
            ("HTTP_ADDR", self.http.to_string()),
            ("NATS_HOST", Ipv4Addr::LOCALHOST.to_string()),
            ("NATS_PORT", self.nats.to_string()),
            ("PG_HOST", Ipv4Addr::LOCALHOST.to_string()),
            ("PG_PORT", self.postgres.to_string()),
            ("PG_USER", "postgres".to_owned()),
            ("PG_DBNAME", "demo1".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// Prometheus with the service as its only target.
    pub(super) fn start_prometheus(&self, data_dir: &Path) -> Result<Prometheus> {
        let dir = data_dir.join("prometheus");
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: orderd\n    static_configs:\n      - targets: ['{}']\n",
            reachable(self.http)
        );
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(&config, text))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let prometheus =
            Prometheus::start(&dir, &config, Some(self.prometheus)).context("cannot start Prometheus")?;
        say(&format!("Prometheus at http://127.0.0.1:{}", prometheus.port()));
        Ok(prometheus)
    }
}

/// The address by which this machine reaches what listens on all of its addresses.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

fn next_free(asked: SocketAddr, taken: &[u16]) -> Option<SocketAddr> {
    let ports = asked.port().max(1)..=u16::MAX;
    let mut addresses = ports.map(|port| SocketAddr::new(asked.ip(), port));
    addresses.find(|address| !taken.contains(&address.port()) && is_free(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let port = devstack::free_port();
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(next_free(asked, &[]), Some(asked));
        assert!(next_free(asked, &[port]).unwrap().port() > port);
        let _listener = std::net::TcpListener::bind(asked).unwrap();
        assert!(next_free(asked, &[]).unwrap().port() > port);
    }
}
