//! nginx, which answers every request with the same bytes, from its configuration or from a file: the limit of reads.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use devstack::{Launch, Process, Signal, free_port, tools, wait_for};

use crate::environment::Environment;
use crate::service::pinned;
use crate::{http, say};

pub(crate) struct Nginx {
    pub(crate) addr: SocketAddr,
    process: Process,
}

impl Nginx {
    /// Answers with `body` from its configuration, on one core.
    pub(crate) fn start(env: &Environment, core: u32, body: &str) -> Result<Self> {
        ensure!(!body.contains(['\'', '$', '\\']), "nginx would not take this answer as it is");
        Self::start_with(env, core, body.as_bytes(), &format!("return 200 '{body}';"))
    }

    /// Answers with `body` from a file, on one core.
    pub(crate) fn start_with_file(env: &Environment, core: u32, body: &[u8]) -> Result<Self> {
        let file = env.temp_dir.path().join("answer.json");
        fs::write(&file, body)?;
        let root = env.temp_dir.path().display();
        Self::start_with(env, core, body, &format!("root {root}; try_files /answer.json =404;"))
    }

    fn start_with(env: &Environment, core: u32, body: &[u8], answer: &str) -> Result<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let dir = env.temp_dir.path().join("nginx");
        fs::create_dir_all(&dir)?;
        let file = dir.join("nginx.conf");
        fs::write(&file, config(addr, answer))?;
        let (program, mut args) = pinned(Some(core), tools::ensure_nginx(&mut say)?.as_os_str());
        args.extend([
            "-p".into(),
            dir.clone().into(),
            "-c".into(),
            file.into(),
            "-e".into(),
            "stderr".into(),
        ]);
        let process = Process::spawn(Launch {
            args,
            port: addr.port(),
            log: Some(dir.join("nginx.log")),
            last_signal: Signal::TERM,
            ..Launch::new("nginx", program, &dir)
        })?;
        let answers = || http::get(addr, "/").is_ok_and(|(status, got)| status == 200 && got == body);
        let answered = wait_for(Duration::from_secs(20), || answers() || process.has_ended());
        ensure!(answered && !process.has_ended(), "nginx does not answer: {}", process.log());
        Ok(Self { addr, process })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn config(addr: SocketAddr, answer: &str) -> String {
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    default_type application/json;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {addr};
        location / {{ {answer} }}
    }}
}}
"
    )
}
