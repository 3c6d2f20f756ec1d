//! What the documents list is what is there: every setting and every command, and none besides.

use std::collections::BTreeSet;

use clap::CommandFactory;
use orderd::cli::Cli;

use super::markdown::Document;

/// Where all settings stand, in tables that begin with `variable`.
const SETTINGS: &str = "README.md";

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
    let listed = Document::read(SETTINGS);
    let listed: BTreeSet<&str> =
        listed.rows_of("variable").flat_map(|row| &row.cells[0].code).map(String::as_str).collect();
    let names: Vec<_> = settings().iter().map(name).collect();
    assert_eq!(listed, names.iter().map(String::as_str).collect(), "in the tables of {SETTINGS}; in --help");
}

#[test]
fn defaults_and_files_of_secrets_are_told() {
    let listed = Document::read(SETTINGS);
    let rows: Vec<_> = listed.rows_of("variable").collect();
    for setting in settings() {
        let name = name(&setting);
        let row = rows.iter().find(|row| row.cells[0].code.contains(&name)).unwrap();
        for default in setting.get_default_values() {
            let default = default.to_string_lossy().into_owned();
            assert!(row.cells[1].code.contains(&default), "{name}: its default is {default}");
        }
        if setting.is_hide_env_values_set() {
            assert!(listed.code.contains(&format!("{name}_FILE")), "{SETTINGS}: {name}_FILE is not there");
        }
    }
}

#[test]
fn every_command_is_in_the_readme() {
    let readme = Document::read("README.md");
    let cli = Cli::command();
    for command in cli.get_subcommands() {
        let told = format!("orderd {}", command.get_name());
        assert!(
            readme.code.iter().any(|code| code.starts_with(&told)),
            "{} is not there",
            command.get_name()
        );
    }
}
