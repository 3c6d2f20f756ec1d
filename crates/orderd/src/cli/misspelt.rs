//! Variables whose names are almost those of settings.

use std::collections::BTreeSet;
use std::env;

use clap::{Command, CommandFactory};

use super::Cli;
use super::parse::is_blank;

/// A variable of the environment that no setting has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisspeltVariable {
    /// Its name.
    pub variable: String,
    /// The setting whose name is almost the same.
    pub setting: String,
}

/// The variables that are set and look like misspelt names of settings, sorted.
#[must_use]
pub fn misspelt() -> Vec<MisspeltVariable> {
    let set = env::vars_os().filter(|(_, value)| !is_blank(value));
    of(set.filter_map(|(name, _)| name.into_string().ok()))
}

fn of(variables: impl Iterator<Item = String>) -> Vec<MisspeltVariable> {
    let settings = settings(&Cli::command());
    let misspelt = |variable: String| {
        let name = variable.to_ascii_uppercase();
        if settings.contains(&variable) || is_of_others(&name) {
            return None;
        }
        let near = settings.iter().filter(|setting| is_near(&name, setting));
        let setting = near.min_by_key(|setting| strsim::osa_distance(&name, setting))?.clone();
        Some(MisspeltVariable { variable, setting })
    };
    let mut found: Vec<_> = variables.filter_map(misspelt).collect();
    found.sort_unstable_by(|a, b| a.variable.cmp(&b.variable));
    found
}

/// The variables of all settings, and those that name files with secrets.
fn settings(command: &Command) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { continue };
        names.insert(name.to_owned());
        if arg.is_hide_env_values_set() {
            names.insert(format!("{name}_FILE"));
        }
    }
    names.extend(command.get_subcommands().flat_map(settings));
    names
}

/// Whether other programs have variables of such names: those of libpq lack the underscore of ours.
fn is_of_others(name: &str) -> bool {
    name.starts_with("OTEL_") || (name.starts_with("PG") && !name.starts_with("PG_"))
}

/// Whether a name has a letter or two too many, too few, wrong or exchanged, or is cut short. Names of one word are also
/// those of other programs' variables, for example `MODE`.
fn is_near(name: &str, setting: &str) -> bool {
    let Some((prefix, _)) = setting.split_once('_') else { return name == setting };
    let most = if setting.len() < 10 { 1 } else { 2 };
    let is_cut = setting.starts_with(name) && name.len() > prefix.len() + 1;
    is_cut || strsim::osa_distance(name, setting) <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_other_programs_are_not_taken_for_misspelt_ones() {
        let found = |names: &[&str]| -> Vec<(String, String)> {
            let found = of(names.iter().map(ToString::to_string));
            found.into_iter().map(|found| (found.variable, found.setting)).collect()
        };
        for (variable, setting) in [
            ("PG_HOTS", "PG_HOST"),
            ("pg_host", "PG_HOST"),
            ("PG_DB", "PG_DBNAME"),
            ("HTTP_TOKEN_FIEL", "HTTP_TOKEN_FILE"),
            ("NATS_CRED", "NATS_CREDS"),
            ("HTTP_ANONYMOS", "HTTP_ANONYMOUS"),
            ("DATABSE_URL", "DATABASE_URL"),
            ("model", "MODEL"),
        ] {
            assert_eq!(found(&[variable]), [(variable.to_owned(), setting.to_owned())]);
        }
        let others = [
            "PATH",
            "HOME",
            "MODE",
            "LOGS",
            "PGHOST",
            "PGUSER",
            "PGPASSWORD",
            "PGHOSTADDR",
            "PG_MAJOR",
            "PG_VERSION",
            "PG_",
            "NATS_SERVICE_HOST",
            "NATS_PORT_4222_TCP",
            "NATS_USER",
            "HTTP_PROXY",
            "http_proxy",
            "https_proxy",
            "DATABASE",
            "POSTGRES_HOST",
            "LOG_LEVEL",
            "OTEL_SERVICE_NAMES",
            "PG_HOST",
            "NATS_URL_FILE",
        ];
        assert_eq!(found(&others), []);
    }
}
