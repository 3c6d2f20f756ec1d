//! A cluster of NATS servers, for replicated streams.

use std::fmt::Write as _;

use crate::ports::Lease;
use crate::{Error, Nats, NatsOptions};

/// Running servers, each with JetStream in a separate folder; stopped on drop.
pub struct NatsCluster {
    /// Each may be killed, paused and restarted separately.
    pub nodes: Vec<Nats>,
    _routes: Vec<Lease>,
}

impl NatsCluster {
    /// Starts servers in temporary folders. They may not have elected a leader yet when this returns.
    pub fn temporary(nodes: usize) -> Result<Self, Error> {
        let routes = (0..nodes).map(|_| Lease::take()).collect::<Result<Vec<_>, _>>()?;
        let started = (0..nodes).map(|number| {
            let extra_config = configuration(number, &routes);
            Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() })
        });
        Ok(Self { nodes: started.collect::<Result<_, _>>()?, _routes: routes })
    }

    /// The name of a node.
    pub fn name(number: usize) -> String {
        format!("node-{number}")
    }

    /// The index of the node with that name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        (0..self.nodes.len()).find(|&number| Self::name(number) == name)
    }

    /// The addresses of all nodes for clients, separated by commas.
    pub fn urls(&self) -> String {
        self.nodes.iter().map(Nats::url).collect::<Vec<_>>().join(",")
    }
}

fn configuration(number: usize, routes: &[Lease]) -> String {
    let mut text = format!("server_name: {}\n", NatsCluster::name(number));
    let _ = writeln!(
        text,
        "cluster {{ name: orderd, no_advertise: true, listen: \"127.0.0.1:{}\", routes: [",
        routes[number].port
    );
    for route in routes {
        let _ = writeln!(text, "  \"nats://127.0.0.1:{}\"", route.port);
    }
    text + "] }\n"
}
