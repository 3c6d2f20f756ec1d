//! A private Prometheus, to look at the service's metrics and to test rules on them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::ports::Lease;
use crate::process::{Launch, Process};
use crate::{Error, tools, wait_until};

const START_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A running Prometheus, stopped on drop.
pub struct Prometheus {
    process: Process,
    lease: Lease,
}

impl Prometheus {
    /// Starts it with a configuration and a folder for its data, created if missing, on a port of 127.0.0.1: the given
    /// or a free one.
    pub fn start(dir: &Path, config: &Path, port: Option<u16>) -> Result<Self, Error> {
        let program = tools::find_prometheus().ok_or_else(|| Error::Missing {
            what: "Prometheus".to_owned(),
            advice: "`cargo xtask up --prometheus` installs it".to_owned(),
        })?;
        fs::create_dir_all(dir).map_err(Error::path("make", dir))?;
        let home = dir.canonicalize().map_err(Error::path("resolve", dir))?;
        let config = config.canonicalize().map_err(Error::path("find", config))?;
        let lease = port.map_or_else(Lease::take, |port| Ok(Lease::of(port)))?;
        let flags = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", home.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", lease.port),
        ];
        let mut process = Process::spawn(Launch {
            args: flags.map(Into::into).to_vec(),
            port: lease.port,
            log: Some(home.join("prometheus.log")),
            ..Launch::new("Prometheus", program, &home)
        })?;
        wait_until(START_LIMIT, "Prometheus is ready", || {
            process.check_starting()?;
            Ok(is_ready(lease.port).then_some(()))
        })?;
        Ok(Self { process, lease })
    }

    /// The port of its pages and its API.
    pub fn port(&self) -> u16 {
        self.lease.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its log since the start.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn is_ready(port: u16) -> bool {
    let ask = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT)?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.write_all(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        std::io::Result::Ok(head)
    };
    ask().is_ok_and(|head| head == *b"HTTP/1.1 200")
}
