//! A private server of NATS Streaming, for tests of `drain-stan`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::ports::Lease;
use crate::process::{Launch, Process};
use crate::{Error, TempDir, tools, wait_until};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server of NATS Streaming with its channels in files; stopped on drop.
pub struct Stan {
    process: Process,
    lease: Lease,
    _temp_dir: TempDir,
}

impl Stan {
    /// The name of its cluster.
    pub const CLUSTER: &str = "TESTCLUSTER";

    /// Starts it in a temporary folder that is removed on drop; builds it first if necessary.
    pub fn temporary() -> Result<Self, Error> {
        let program = tools::ensure_stan_server(&mut |_| {})?;
        let temp_dir = TempDir::new()?;
        let home = temp_dir.path().join("stan");
        fs::create_dir_all(&home).map_err(Error::path("make", &home))?;
        let lease = Lease::take()?;
        let process = launch(&program, &home, lease.port)?;
        Ok(Self { process, lease, _temp_dir: temp_dir })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn launch(program: &Path, home: &Path, port: u16) -> Result<Process, Error> {
    let port_text = port.to_string();
    let store = home.join("store").display().to_string();
    let args = ["-a", "127.0.0.1", "-p", &port_text, "-cid", Stan::CLUSTER, "-store", "file", "-dir", &store];
    let mut process = Process::spawn(Launch {
        args: args.map(Into::into).to_vec(),
        port,
        log: Some(home.join("stan.log")),
        last_signal: Signal::KILL,
        ..Launch::new("NATS Streaming", program, home)
    })?;
    wait_until(START_LIMIT, "NATS Streaming is ready", || {
        process.check_starting()?;
        Ok(process.log().contains("Streaming Server is ready").then_some(()))
    })?;
    Ok(process)
}
