//! The program of another architecture, under QEMU: no Debian of that architecture is made for it.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use devstack::{TempDir, tools};

use super::super::Built;
use super::output_of;
use super::service::Servers;
use crate::release::Release;
use crate::say;

pub(super) fn run(built: &Built, release: &Release) -> Result<()> {
    let qemu = tools::ensure_qemu(built.target.arch, &mut say)?;
    let temp_dir = TempDir::new()?;
    let program = temp_dir.path().join("orderd");
    std::fs::write(&program, &built.program)?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    let servers = Servers::start()?;
    let command = |args: &[&str]| -> Vec<String> {
        let mut command = vec!["env".to_owned(), "-i".to_owned()];
        command.extend(servers.settings());
        command.extend([&qemu, &program].map(|path| path.display().to_string()));
        command.extend(args.iter().map(|&arg| arg.to_owned()));
        command
    };
    let version = output_of(&command(&["--version"]))?;
    let wanted = release.says();
    ensure!(
        version == wanted,
        "under QEMU the program for {} says {version:?}, not {wanted:?}",
        built.target.arch
    );
    say(&format!("the program for {} runs under QEMU: {version}", built.target.arch));
    servers.try_service(command)
}
