//! The program's manual and shell completions.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use devstack::{TempDir, tools};

use super::Built;
use crate::release::Release;

pub(super) struct Texts {
    /// Name of the page, such as `orderd-serve.1`, and its text.
    pub(super) manual: Vec<(String, Vec<u8>)>,
    /// Name of the shell, and its script.
    pub(super) completions: Vec<(&'static str, Vec<u8>)>,
}

/// They are the same for each architecture, so the program for this machine prints them.
pub(super) fn texts(built: &[Built], release: &Release) -> Result<Texts> {
    let native =
        built.iter().find(|built| built.target.is_native()).context("no program for this machine")?;
    let temp_dir = TempDir::new()?;
    let program = temp_dir.path().join("orderd");
    std::fs::write(&program, &native.program)?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let version = String::from_utf8(output_of(&program, &["--version"])?)?;
    let (version, wanted) = (version.trim_end(), release.says());
    ensure!(version == wanted, "the program says that it is {version:?}, not {wanted:?}");
    let pages = temp_dir.path().join("pages");
    std::fs::create_dir(&pages)?;
    output_of(&program, &["manual", &pages.display().to_string()])?;
    let mut manual = Vec::new();
    for entry in std::fs::read_dir(&pages)? {
        let entry = entry?;
        manual.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    ensure!(!manual.is_empty(), "the program has written no manual");
    manual.sort();
    let mut completions = Vec::new();
    for shell in ["bash", "zsh", "fish"] {
        completions.push((shell, output_of(&program, &["completions", shell])?));
    }
    Ok(Texts { manual, completions })
}

/// Runs the program without this machine's settings, and returns its output.
fn output_of(program: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let mut orderd = Command::new(program);
    orderd.args(args).env_clear().stdin(Stdio::null());
    let output = orderd.output().with_context(|| format!("cannot start {}", program.display()))?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "orderd {} ended with {}: {}",
        args.join(" "),
        output.status,
        problem.trim()
    );
    Ok(output.stdout)
}

/// A file of the workspace.
pub(super) fn read(file: &str) -> Result<Vec<u8>> {
    let path = tools::workspace().join(file);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A file of the workspace with the words between `@` replaced.
pub(super) fn filled(file: &str, words: &[(&str, &str)]) -> Result<String> {
    let mut text = String::from_utf8(read(file)?).with_context(|| format!("{file} is not text"))?;
    for (word, value) in words {
        text = text.replace(&format!("@{word}@"), value);
    }
    Ok(text)
}
