//! `cargo xtask orderd ARGS…`: the built service's commands with the settings of the running `up`. Commands that need no
//! servers run without `up` too.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::up::{self, DATA_DIR, DataDir, PROGRAM};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let dir = DataDir::at(std::env::var_os(DATA_DIR).map(Into::into))?;
    let settings = dir.settings_in_use();
    if settings.is_none() && !needs_servers(args) {
        let program = up::build_to_try()?;
        return become_program(Command::new(&program).args(args));
    }
    let settings = settings.with_context(|| {
        let folder = dir.path().display();
        format!(
            "cannot run orderd: no `cargo xtask up` is ready on {folder}; start it in another terminal and wait for \
             `ready`, or set {DATA_DIR} to the folder that it was given by --data-dir"
        )
    })?;
    let program = settings.iter().find(|(name, _)| name == PROGRAM).map(|(_, value)| value);
    let program =
        program.context("cannot run orderd: its program is not known; start `cargo xtask up` again")?;
    let free = |name: &str| name != PROGRAM && std::env::var_os(name).is_none();
    become_program(
        Command::new(program).args(args).envs(settings.iter().filter(|(name, _)| free(name)).cloned()),
    )
}

/// Replaces this process, so that signals reach the program. Returns only if it can't be run.
fn become_program(program: &mut Command) -> Result<ExitCode> {
    let error = program.exec();
    Err(error).with_context(|| format!("cannot run {}", program.get_program().display()))
}

/// Whether a command talks to NATS, PostgreSQL or the service.
fn needs_servers(args: &[OsString]) -> bool {
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    if words.iter().any(|word| ["-h", "--help", "-V", "--version"].contains(word)) {
        return false;
    }
    match words[..] {
        ["help" | "completions" | "manual", ..] => false,
        ["model", "check", ref rest @ ..] => !names_file(rest),
        ["model", ..] => false,
        _ => true,
    }
}

/// Whether something stands there that is neither a flag nor a flag's value.
fn names_file(words: &[&str]) -> bool {
    let is_flag = |word: &str| word.starts_with('-');
    let takes_next = |word: &str| word != "--" && is_flag(word) && !word.contains('=');
    words.iter().enumerate().any(|(index, word)| {
        let is_value = index.checked_sub(1).is_some_and(|before| takes_next(words[before]));
        !is_flag(word) && !is_value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_talk_to_servers_need_them() {
        let needs = |line: &str| {
            let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            needs_servers(&args)
        };
        for line in [
            "model infer samples/order.json",
            "model go parcel.json",
            "model",
            "model check --model newer.json older.json",
            "model check older.json --model=newer.json",
            "model check --model=newer.json -- older.json",
            "completions bash",
            "manual target/man",
            "help publish",
            "publish --help",
            "--version",
        ] {
            assert!(!needs(line), "{line}");
        }
        for line in [
            "",
            "serve",
            "publish --from model",
            "dead-letters list",
            "model check",
            "model check --model newer.json",
            "verify",
        ] {
            assert!(needs(line), "{line}");
        }
    }
}
