//! podman with its images under `target/image`, so that the machine is not changed.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use devstack::tools;

use crate::say;

/// The machine's CA certificates, with which cargo in a container trusts crates.io behind a proxy.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) struct Podman {
    program: PathBuf,
    home: PathBuf,
}

impl Podman {
    pub(super) fn ready() -> Result<Self> {
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        ensure!(
            is_root,
            "cannot build the image: it takes root, for debootstrap and for building in a chroot"
        );
        let program = tools::ensure_podman(&mut say)?;
        let home = tools::workspace().join("target/image");
        // Temporary files, and cargo's files between two builds, stay here too.
        let tmp = home.join("tmp");
        std::fs::create_dir_all(&tmp).with_context(|| format!("cannot make {}", tmp.display()))?;
        Ok(Self { program, home })
    }

    pub(super) fn home(&self) -> &std::path::Path {
        &self.home
    }

    /// A podman command, to which the caller adds arguments.
    pub(super) fn command(&self, command: &str) -> Command {
        let mut podman = Command::new(&self.program);
        podman.arg("--root").arg(self.home.join("images")).arg("--runroot").arg(self.home.join("run"));
        // Unlike runc, crun refuses machines with both kinds of cgroups.
        podman.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", command]);
        podman.env("TMPDIR", self.home.join("tmp")).stdin(Stdio::null());
        podman
    }

    /// The stdout of a command; the error contains its stderr.
    pub(super) fn output<I: AsRef<OsStr>>(&self, command: &str, args: &[I]) -> Result<String> {
        let output = self.command(command).args(args).output().context("cannot start podman")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "podman {command} ended with {}: {}", output.status, words.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(super) fn has(&self, image: &str) -> bool {
        self.output("image", &["exists", image]).is_ok()
    }

    /// Bytes.
    pub(super) fn size(&self, image: &str) -> Result<u64> {
        Ok(self.output("image", &["inspect", "--format", "{{.Size}}", image])?.parse()?)
    }

    /// Like `docker build --file deploy/Dockerfile .`, with the base image of [`super::base::make`].
    pub(super) fn build(&self, tag: &str, revision: &str) -> Result<()> {
        let mut build = self.command("build");
        // Docker's format includes the health check.
        build.args(["--format", "docker", "--isolation", "chroot", "--network", "host", "--pull=never"]);
        build.args(["--ignorefile", "deploy/Dockerfile.dockerignore", "--file", "deploy/Dockerfile"]);
        build.arg("--build-arg").arg(format!("ORDERD_REVISION={revision}"));
        build.arg("--volume").arg(format!("{CERTIFICATES}:{CERTIFICATES}:ro"));
        build.args(super::base::flags(self)?).args(["--tag", tag, "."]).current_dir(tools::workspace());
        let status = build.status().context("cannot start podman")?;
        if !status.success() {
            bail!("cannot build the image: podman ended with {status}; its messages are above");
        }
        Ok(())
    }
}
