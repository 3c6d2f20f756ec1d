//! Finds our own commands in a document's shell code, and checks their flags.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;
use clap::error::ErrorKind;
use orderd::cli::Cli;

/// A command of ours, with its arguments.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Ours {
    Orderd(Vec<String>),
    Xtask(Vec<String>),
}

/// Words that may precede `orderd` as a command, rather than as the name of a service or container.
const BEFORE: [&str; 3] = ["xtask", "--rm", "-T"];

/// Our commands in shell code.
pub(super) fn ours(code: &str) -> BTreeSet<Ours> {
    let joined = code.replace("\\\n", " ");
    let lines = joined.lines().filter_map(|line| match shlex::split(line) {
        None if line.contains("orderd") || line.contains("xtask") => panic!("{line} is not a complete line"),
        words => words,
    });
    lines
        .flat_map(|words| words.split(|word| is_operator(word)).filter_map(command).collect::<Vec<_>>())
        .collect()
}

fn is_operator(word: &str) -> bool {
    matches!(word, "|" | "||" | "&&" | ";" | "&" | "then" | "do" | "if" | "!")
}

fn command(words: &[String]) -> Option<Ours> {
    let start = words.iter().position(|word| !is_assignment(word))?;
    let words = &words[start..];
    let end = words.iter().position(|word| word.contains(['<', '>'])).unwrap_or(words.len());
    let words = &words[..end];
    let is_ours = |index: usize| index == 0 || BEFORE.contains(&words[index - 1].as_str());
    if let Some(index) = (0..words.len()).find(|&index| words[index] == "orderd" && is_ours(index)) {
        return Some(Ours::Orderd(words[index + 1..].into()));
    }
    match words {
        [cargo, xtask, rest @ ..] if cargo == "cargo" && xtask == "xtask" => Some(Ours::Xtask(rest.into())),
        _ => None,
    }
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

impl Ours {
    /// Why this is not one of our commands; `None` if it is.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Orderd(args) => orderd(args),
            Self::Xtask(args) => xtask(args),
        }
    }
}

/// With `--help` appended, a command prints help unless an earlier argument is wrong.
fn orderd(args: &[String]) -> Option<String> {
    let bare = args
        .first()
        .is_none_or(|first| first.starts_with("--") && !["--help", "--version"].contains(&first.as_str()));
    let front = ["orderd"].into_iter().chain(bare.then_some("serve"));
    let line = front.chain(args.iter().map(String::as_str)).chain(["--help"]);
    match Cli::try_parse_from(line) {
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => None,
        Err(error) => Some(error.to_string()),
        Ok(_) => Some("no help".into()),
    }
}

fn xtask(args: &[String]) -> Option<String> {
    // Arguments after these are for another program.
    let asked = match args.first().map(String::as_str) {
        Some("test") => &args[..1],
        _ => args,
    };
    let mut command = program(asked).unwrap_or_else(|| {
        let mut xtask = cargo_xtask();
        xtask.args(asked);
        xtask
    });
    let output = command.arg("--help").stdin(Stdio::null()).output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The program that xtask starts for such a command, if the whole suite has built it; `None` for xtask's own commands.
fn program(asked: &[String]) -> Option<Command> {
    let (name, args) = match asked.split_first()? {
        (name, args) if name == "bench" || name == "chaos" => (name.as_str(), args),
        (name, _) if ["dist", "image", "chart", "advisories"].contains(&name.as_str()) => ("release", asked),
        _ => return None,
    };
    let built = Path::new(env!("CARGO_BIN_EXE_orderd")).with_file_name(name);
    built.is_file().then(|| {
        let mut program = Command::new(built);
        program.args(args);
        program
    })
}

/// `cargo xtask` of this workspace.
pub(super) fn cargo_xtask() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.arg("xtask").current_dir(devstack::tools::workspace());
    for name in set_for_tests() {
        command.env_remove(name);
    }
    command
}

/// Variables that cargo sets for tests of its package. Passed on to another cargo, they cause rebuilds.
pub(super) fn set_for_tests() -> impl Iterator<Item = OsString> {
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(move |name| told.iter().any(|told| name.to_string_lossy().starts_with(told)))
}

#[test]
fn commands_are_found_and_wrong_ones_are_told() {
    let code = "PG_PORT=1 orderd export > f  # orderd nothing\ncargo xtask orderd publish \\\n  --nope 1\n\
                docker compose run --rm orderd verify && systemctl restart orderd\ncat f | orderd import -";
    let found: Vec<_> = ours(code).into_iter().collect();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    let wanted = ["export", "import -", "publish --nope 1", "verify"].map(|line| Ours::Orderd(words(line)));
    assert_eq!(found, wanted);
    let problems: Vec<_> = found.iter().filter_map(Ours::problem).collect();
    assert!(problems.len() == 1 && problems[0].contains("--nope"), "{problems:?}");
    assert!(Ours::Orderd(words("exprt")).problem().is_some());
    assert!(Ours::Orderd(words("--pg-hots a")).problem().is_some());
    assert!(Ours::Xtask(words("up --nope")).problem().is_some());
    assert_eq!(Ours::Xtask(words("up --prometheus")).problem(), None);
    // Programs that xtask only starts.
    let started = Ours::Xtask(words("bench --nope")).problem();
    assert!(started.as_ref().is_some_and(|problem| problem.contains("--nope")), "{started:?}");
    assert_eq!(Ours::Xtask(words("bench backlog --orders 1000")).problem(), None);
}
