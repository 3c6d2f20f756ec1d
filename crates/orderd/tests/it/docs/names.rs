//! Settings, commands, alerts, metrics and messages in the documents exist, and all of them are documented.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory;
use devstack::tools;
use orderd::cli::Cli;

use super::links::anchor;
use super::markdown::Document;

/// The document with all settings, in tables that begin with `variable`, and metrics and messages.
const GUIDE: &str = "docs/OPERATIONS.md";

/// The document with a section for each alert.
const RUNBOOKS: &str = "docs/RUNBOOKS.md";

/// The environment variables of all commands.
fn settings() -> Vec<clap::Arg> {
    let cli = Cli::command();
    let commands = cli.get_subcommands().flat_map(|command| command.get_arguments());
    commands.filter(|arg| arg.get_env().is_some()).cloned().collect()
}

fn name(setting: &clap::Arg) -> String {
    setting.get_env().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_setting_is_in_the_tables_and_every_one_there_is_a_setting() {
    let listed = Document::read(GUIDE);
    let listed: BTreeSet<&str> =
        listed.rows_of("variable").flat_map(|row| &row.cells[0].code).map(String::as_str).collect();
    let names: Vec<_> = settings().iter().map(name).collect();
    assert_eq!(listed, names.iter().map(String::as_str).collect(), "in the tables of {GUIDE}; in --help");
}

#[test]
fn the_readmes_name_settings_that_are_there() {
    let names: Vec<_> = settings().iter().map(name).collect();
    for readme in ["README.md", "README.ru.md"].map(Document::read) {
        let named = readme.code.iter().map(String::as_str).filter(|code| looks_like_a_setting(code));
        let named: BTreeSet<&str> = named.collect();
        assert!(named.len() > 5, "{}: {named:?}", readme.name);
        let is_setting =
            |word: &str| names.iter().any(|name| word.strip_suffix("_FILE").unwrap_or(word) == name);
        let unknown: Vec<_> = named.into_iter().filter(|word| !is_setting(word)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} are not settings", readme.name);
    }
}

fn looks_like_a_setting(code: &str) -> bool {
    code.contains(|c: char| c.is_ascii_uppercase())
        && code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn defaults_and_files_of_secrets_are_told() {
    let listed = Document::read(GUIDE);
    let rows: Vec<_> = listed.rows_of("variable").collect();
    for setting in settings() {
        let name = name(&setting);
        let row = rows.iter().find(|row| row.cells[0].code.contains(&name)).unwrap();
        for default in setting.get_default_values() {
            let default = default.to_string_lossy().into_owned();
            assert!(row.cells[1].code.contains(&default), "{name}: its default is {default}");
        }
        if setting.is_hide_env_values_set() {
            assert!(listed.code.contains(&format!("{name}_FILE")), "{GUIDE}: {name}_FILE is not there");
        }
    }
}

#[test]
fn every_command_is_in_the_readmes() {
    let cli = Cli::command();
    for readme in ["README.md", "README.ru.md"].map(Document::read) {
        for command in cli.get_subcommands() {
            let told = format!("orderd {}", command.get_name());
            assert!(readme.code.iter().any(|code| code.starts_with(&told)), "{}: no {told}", readme.name);
        }
    }
}

/// Of the crates, only that of the service has folders in the map.
#[test]
fn every_folder_is_in_the_map_of_the_architecture() {
    let map = Document::read("ARCHITECTURE.md");
    let folders = |parent: &str| {
        let entries = std::fs::read_dir(tools::workspace().join(parent)).unwrap().map(Result::unwrap);
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        let names = folders.map(|entry| entry.file_name().into_string().unwrap());
        names.map(|name| (parent.to_owned(), name)).collect::<Vec<_>>()
    };
    let top = folders("").into_iter().filter(|(_, name)| {
        name == ".ci" || !name.starts_with('.') && !["target", "crates"].contains(&name.as_str())
    });
    let below = ["crates/", "crates/orderd/src/", "crates/orderd/tests/", "deploy/"].map(folders);
    let all: Vec<_> = top.chain(below.into_iter().flatten()).collect();
    assert!(all.len() > 40, "{all:?}");
    for (parent, name) in all {
        let path = format!("{parent}{name}");
        let is_named = |code: &String| {
            let code = code.trim_end_matches('/');
            code == name || code == path || code.starts_with(&format!("{path}/"))
        };
        assert!(map.code.iter().any(is_named), "{path}");
    }
}

/// As the release workflow prints them.
#[test]
fn the_changelog_has_notes_for_this_version() {
    let script = tools::workspace().join(".ci/release-notes");
    let printed = std::process::Command::new(script).arg(env!("CARGO_PKG_VERSION")).output().unwrap();
    let notes = String::from_utf8_lossy(&printed.stdout);
    assert!(printed.status.success() && notes.contains("### "), "{notes}");
}

#[test]
fn every_alert_leads_to_its_section() {
    let rules = std::fs::read_to_string(tools::workspace().join("deploy/prometheus/alerts.yml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<&str> = alerts.collect();
    for alert in &alerts {
        let leads = format!("runbook: {RUNBOOKS}#{}\n", anchor(alert));
        assert!(rules.contains(&leads), "{alert} does not lead to {RUNBOOKS}");
    }
    for runbooks in [RUNBOOKS, "docs/RUNBOOKS.ru.md"].map(Document::read) {
        let sections = runbooks.headings[1..].iter().map(String::as_str);
        assert_eq!(sections.collect::<BTreeSet<_>>(), alerts, "in {}; in alerts.yml", runbooks.name);
    }
}

/// The names of the service's metrics.
fn metrics() -> BTreeSet<String> {
    let sources = ["metrics/mod.rs", "metrics/process.rs"].map(|name| {
        std::fs::read_to_string(tools::workspace().join("crates/orderd/src").join(name)).unwrap()
    });
    let texts = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_metric =
        |text: &&str| ["orderd_", "myapp_", "process_"].iter().any(|begin| text.starts_with(begin));
    texts.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented() {
    let guide = Document::read(GUIDE);
    let documented = guide.rows_of("metric").flat_map(|row| &row.cells[0].code).cloned();
    assert_eq!(documented.collect::<BTreeSet<_>>(), metrics(), "in {GUIDE}; in metrics/");
}

/// Metrics that the board leaves out: its lag says more than the position, and the process's other figures suffice.
const NOT_ON_THE_BOARD: [&str; 3] = ["orderd_position", "process_virtual_memory_bytes", "process_threads"];

#[test]
fn every_metric_is_on_the_board() {
    let board = tools::workspace().join("deploy/grafana/dashboards/orderd.json");
    let board: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(board).unwrap()).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<_> = targets.flatten().map(|target| target["expr"].as_str().unwrap()).collect();
    let words =
        queries.iter().flat_map(|query| query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let of_histogram = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    let mut shown: BTreeSet<String> = words.map(of_histogram).collect();
    for name in NOT_ON_THE_BOARD {
        assert!(shown.insert(name.to_owned()), "{name} is on the board");
    }
    let missing: Vec<_> = metrics().difference(&shown).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn messages_that_are_explained_are_written_somewhere() {
    let sources = ["crates/orderd/src", "crates/cache/src"]
        .map(|folder| sources(&tools::workspace().join(folder)))
        .concat();
    let guide = Document::read(GUIDE);
    let messages: Vec<_> = guide.rows_of("message").flat_map(|row| &row.cells[0].code).collect();
    assert!(messages.len() > 15, "{messages:?}");
    for message in messages {
        assert!(sources.contains(message), "{GUIDE}: nothing writes {message:?}");
    }
}

/// All sources, with multi-line string literals joined.
fn sources(dir: &Path) -> String {
    let mut found = String::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = if path.is_dir() { sources(&path) } else { std::fs::read_to_string(&path).unwrap() };
        let mut lines = text.split("\\\n");
        found.push_str(lines.next().unwrap_or_default());
        lines.for_each(|line| found.push_str(line.trim_start()));
    }
    found
}
