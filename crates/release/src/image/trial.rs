//! Runs the image as `deploy/compose.yaml` does, against real servers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use devstack::{
    Launch, Nats, NatsOptions, Postgres, PostgresOptions, Process, Signal, TempDir, free_port, wait_for,
};

use super::podman::Podman;
use crate::release::Release;
use crate::say;

/// Time limit for the start, also on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Time limit for the service to end by itself. compose.yaml's `stop_grace_period` has room for `SHUTDOWN_DELAY` too.
const STOP: Duration = Duration::from_secs(15);
const ORDERS: usize = 100;
const USER: u32 = 65532;

/// The liveness check of the trial.
pub(super) enum HealthCheck {
    /// The image's own HEALTHCHECK.
    OfImage,
    /// The same command: podman ignores the HEALTHCHECK of an OCI image.
    Command,
}

struct Trial<'a> {
    podman: &'a Podman,
    image: &'a str,
    check: HealthCheck,
    name: String,
    temp_dir: TempDir,
    postgres: Postgres,
    http: u16,
}

pub(super) fn run(podman: &Podman, image: &str, check: HealthCheck, release: &Release) -> Result<()> {
    let password = Some("a p@ss/word".to_owned());
    let postgres = Postgres::temporary(PostgresOptions { password, ..PostgresOptions::quick() })?;
    let extra_config = "authorization { user: orderd, password: \"p@ss\" }".to_owned();
    let nats = Nats::temporary(NatsOptions { extra_config, ..NatsOptions::default() })?;
    let name = format!("orderd-trial-{}", std::process::id());
    let trial = Trial { podman, image, check, name, temp_dir: TempDir::new()?, postgres, http: free_port() };
    trial.write_secrets(&nats)?;
    let version = trial.orderd(&["--version"])?;
    ensure!(version == release.says(), "the image says {version:?}, not {:?}", release.says());
    say(&format!("the image says {version}"));
    let mut service = trial.start()?;
    let tried = trial.answers().and_then(|()| trial.is_locked_up());
    if let Err(error) = tried {
        bail!("{error:#}; its log: {}", service.log());
    }
    let status = service.end(Signal::TERM).and_then(|status| status.code());
    ensure!(status == Some(0), "it stopped with {status:?}: {}", service.log());
    say("stopped with 0");
    Ok(())
}

impl Trial<'_> {
    /// Like `make-secrets.sh`: readable files in a private folder.
    fn write_secrets(&self, nats: &Nats) -> Result<()> {
        let nats = format!("nats://orderd:p%40ss@127.0.0.1:{}", nats.port());
        for (name, text) in
            [("http_token", "secret"), ("nats_url", nats.as_str()), ("postgres_password", "a p@ss/word")]
        {
            let file = self.temp_dir.path().join(name);
            fs::write(&file, format!("{text}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        }
        Ok(())
    }

    /// Flags for `run` like compose.yaml's settings of the service, on this machine's network.
    fn flags(&self) -> Vec<String> {
        let settings = [
            format!("HTTP_ADDR=127.0.0.1:{}", self.http),
            "HTTP_TOKEN_FILE=/run/secrets/http_token".into(),
            "NATS_URL_FILE=/run/secrets/nats_url".into(),
            "PUB_TOPIC=TESTING".into(),
            "PG_HOST=127.0.0.1".into(),
            format!("PG_PORT={}", self.postgres.port()),
            "PG_USER=postgres".into(),
            "PG_PASSWORD_FILE=/run/secrets/postgres_password".into(),
            "PG_DBNAME=demo1".into(),
            "LOG_FORMAT=json".into(),
        ];
        let mut flags: Vec<String> =
            ["--rm", "--pull=never", "--read-only", "--read-only-tmpfs=false"].map(Into::into).into();
        flags
            .extend(["--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"].map(Into::into));
        // podman's default limits may exceed what is allowed here; compose.yaml has 65536 files.
        flags.extend(["--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024"].map(Into::into));
        // Podman uses a systemd timer; we run the check ourselves.
        flags.push("--health-interval=disable".into());
        for secret in ["http_token", "nats_url", "postgres_password"] {
            let file = self.temp_dir.path().join(secret);
            flags.push(format!("--volume={}:/run/secrets/{secret}:ro", file.display()));
        }
        flags.extend(settings.iter().map(|setting| format!("--env={setting}")));
        flags
    }

    fn start(&self) -> Result<Process> {
        let mut command = self.podman.command("run");
        command.args(self.flags()).args(["--name", &self.name, self.image]);
        let mut launch = Launch::new("the image", command.get_program(), self.temp_dir.path());
        launch.args = command.get_args().map(Into::into).collect();
        let envs = command.get_envs().filter_map(|(name, value)| Some((name.into(), value?.into())));
        launch.envs = envs.collect();
        launch.log = Some(self.temp_dir.path().join("log"));
        launch.grace = STOP;
        Ok(Process::spawn(launch)?)
    }

    /// A command in a separate container, like `docker compose run --rm orderd …`.
    fn orderd(&self, args: &[&str]) -> Result<String> {
        let mut all = self.flags();
        all.push(self.image.into());
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        self.podman.output("run", &all)
    }

    fn answers(&self) -> Result<()> {
        let mut asked = self.healthy();
        wait_for(START, || {
            asked = self.healthy();
            asked.is_ok()
        });
        asked.context("its health check fails")?;
        say("its health check passes");
        self.orderd(&["publish", "--count", &ORDERS.to_string()])?;
        let rows = || self.postgres.psql("select count(*) from public.orders2").unwrap_or_default();
        let stored = wait_for(START, || rows().trim() == ORDERS.to_string());
        ensure!(stored, "{} rows of {ORDERS} orders", rows().trim());
        say(&format!("{ORDERS} orders are in the table; {}", self.orderd(&["verify"])?.replace('\n', "; ")));
        Ok(())
    }

    fn healthy(&self) -> Result<String> {
        match self.check {
            HealthCheck::OfImage => self.podman.output("healthcheck", &["run", &self.name]),
            HealthCheck::Command => {
                self.podman.output("exec", &[&self.name, "/usr/bin/orderd", "check", "--live"])
            }
        }
    }

    fn is_locked_up(&self) -> Result<()> {
        let pid = self.podman.output("inspect", &["--format", "{{.State.Pid}}", &self.name])?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let user = value("Uid:").split_whitespace().next().unwrap_or_default();
        ensure!(user == USER.to_string(), "it runs as {user}");
        ensure!(
            u64::from_str_radix(value("CapEff:"), 16) == Ok(0),
            "it has capabilities: {}",
            value("CapEff:")
        );
        ensure!(value("NoNewPrivs:") == "1", "it may gain privileges");
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
        ensure!(
            root.split(' ').nth(5).is_some_and(|options| options.split(',').any(|option| option == "ro")),
            "its file system can be written to: {root}"
        );
        say("runs as user 65532, without capabilities, on a read-only file system");
        Ok(())
    }
}
