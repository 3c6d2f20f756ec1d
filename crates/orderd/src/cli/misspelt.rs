//! Variables whose names are almost those of settings.

use std::collections::BTreeSet;
use std::{env, fmt};

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

impl MisspeltVariable {
    pub(crate) fn problem(&self) -> String {
        format!("the variable {} has no effect: no setting has that name", self.variable)
    }
}

impl fmt::Display for MisspeltVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; is {} meant?", self.problem(), self.setting)
    }
}

/// The variables that are set and look like misspelt names of settings, sorted.
#[must_use]
pub fn misspelt() -> Vec<MisspeltVariable> {
    let set = env::vars_os().filter(|(_, value)| !is_blank(value));
    of(set.filter_map(|(name, _)| name.into_string().ok()).collect())
}

fn of(variables: BTreeSet<String>) -> Vec<MisspeltVariable> {
    let settings = settings(&Cli::command());
    let misspelt = |variable: &String| {
        if settings.contains(variable) || is_of_others(variable, &settings) {
            return None;
        }
        let name = variable.to_ascii_uppercase();
        // Who has set the setting means something else by the variable.
        let near = settings.iter().filter(|setting| is_near(&name, setting) && !variables.contains(*setting));
        let setting = near.min_by_key(|setting| strsim::osa_distance(&name, setting))?.clone();
        Some(MisspeltVariable { variable: variable.clone(), setting })
    };
    variables.iter().filter_map(misspelt).collect()
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

/// Whether a variable belongs to another program, or to none of ours: the names of libpq lack the underscore of ours,
/// those for services of Kubernetes have digits, and a file of a setting that takes a file is no mistake in spelling.
fn is_of_others(name: &str, settings: &BTreeSet<String>) -> bool {
    name.starts_with("OTEL_")
        || (name.starts_with("PG") && !name.starts_with("PG_"))
        || !name.chars().all(|char| char.is_ascii_alphabetic() || char == '_')
        || name.strip_suffix("_FILE").is_some_and(|setting| settings.contains(setting))
}

/// Whether a name has a letter too many, too few or wrong, or two exchanged, after the first letter, or is a server's and
/// cut short. Names of one word are also those of other programs' variables, for example `MODE`.
fn is_near(name: &str, setting: &str) -> bool {
    let Some((prefix, _)) = setting.split_once('_') else { return name == setting };
    let is_cut = ["PG", "NATS", "HTTP"].contains(&prefix)
        && setting.starts_with(name)
        && name.len() > prefix.len() + 1;
    let is_as_long =
        name.len().abs_diff(setting.len()) <= 1 && name.as_bytes().first() == setting.as_bytes().first();
    is_cut || (is_as_long && strsim::osa_distance(name, setting) <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_other_programs_are_not_taken_for_misspelt_ones() {
        let found = |names: &[&str]| -> Vec<(String, String)> {
            let found = of(names.iter().map(ToString::to_string).collect());
            found.into_iter().map(|found| (found.variable, found.setting)).collect()
        };
        for (variable, setting) in [
            ("PG_HOTS", "PG_HOST"),
            ("pg_host", "PG_HOST"),
            ("PG_DB", "PG_DBNAME"),
            ("HTTP_TOKENS_FILE", "HTTP_TOKEN_FILE"),
            ("NATS_CRED", "NATS_CREDS"),
            ("HTTP_ANONYM", "HTTP_ANONYMOUS"),
            ("DATABASE_URI", "DATABASE_URL"),
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
            "SUB_TOPIC",
            "DATABASE_SSL",
            "DATABASE_UID",
            "STREAM_KEY",
            "CACHE_MAX",
            "NATS1_PORT",
            "NATS_KEY_FILE",
            // The setting is there too.
            "PG_HOTS",
            "NATS_URLS\n",
        ];
        assert_eq!(found(&others), []);
    }
}
