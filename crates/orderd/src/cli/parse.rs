//! Parses arguments and environment variables into [`Cli`].
//!
//! clap does most of the work. This module adds two rules for every setting: an empty variable counts as not set, and
//! an error names its variable.

use std::borrow::Cow;
use std::env;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::error::ConfigError;
use crate::cli::{Cli, EraseArgs};

/// Why the arguments give no [`Cli`].
#[derive(Debug, thiserror::Error)]
pub enum CommandLineError {
    /// clap's message; also help and version, which are not errors.
    #[error(transparent)]
    Usage(#[from] Error),
    /// An invalid variable.
    #[error(transparent)]
    Variable(#[from] ConfigError),
}

/// Parses arguments and environment. Without a subcommand, `orderd` serves.
///
/// # Errors
/// An invalid argument, or a request for help or the version.
pub fn parse(args: Vec<OsString>) -> Result<Cli, CommandLineError> {
    let args = with_negative_values(with_default_command(args));
    let mut command = without_empty_variables(Cli::command());
    let parsed = command.try_get_matches_from_mut(&args).and_then(|matches| {
        refuse_empty(&mut command, &matches)?;
        Cli::from_arg_matches(&matches)
    });
    parsed.map_err(|error| explained(error, &command, &args))
}

fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let first = args.get(1).and_then(|arg| arg.to_str());
    let serves = first
        .is_none_or(|first| first.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&first));
    if serves {
        args.insert(1.min(args.len()), "serve".into());
    }
    args
}

/// `--keep -1h` becomes `--keep=-1h`: clap would refuse it as an unknown flag, and not say what the setting takes.
fn with_negative_values(args: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    let mut are_flags_over = false;
    for arg in args {
        are_flags_over |= arg == "--";
        let is_negative = matches!(arg.as_encoded_bytes(), [b'-', digit, ..] if digit.is_ascii_digit());
        let is_flag = |before: &&mut OsString| {
            before.to_str().is_some_and(|before| before.starts_with("--") && !before.contains('='))
        };
        match joined.last_mut().filter(is_flag) {
            Some(flag) if is_negative && !are_flags_over => {
                flag.push("=");
                flag.push(arg);
            }
            _ => joined.push(arg),
        }
    }
    joined
}

/// Platforms set empty variables to mean "not set": Compose's `${NAME:-}`, an empty Kubernetes value.
fn without_empty_variables(command: Command) -> Command {
    let unless_empty = |arg: Arg| match arg.get_env() {
        Some(name) if env::var_os(name).is_some_and(|value| is_blank(&value)) => arg.env(Resettable::Reset),
        _ => arg,
    };
    command.mut_args(unless_empty).mut_subcommands(without_empty_variables)
}

/// Whether a value counts as not set.
pub(crate) fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.trim().is_empty())
}

/// An empty value on the command line is a mistake: an unset variable of a script. Only a document's id may be empty.
fn refuse_empty(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand_mut(name)
    {
        return refuse_empty(command, matches);
    }
    let typed = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        id != EraseArgs::IDS
            && matches.value_source(id) == Some(ValueSource::CommandLine)
            && matches.get_raw(id).is_some_and(|mut values| values.any(is_blank))
    };
    let Some(empty) = command.get_arguments().find(typed).map(ToString::to_string) else { return Ok(()) };
    let said = format!("{empty} is empty; leave it out for the default");
    Err(command.error(ErrorKind::InvalidValue, said))
}

/// clap's error, naming the variable that was set, and without the variables in the usage line.
fn explained(mut error: Error, command: &Command, args: &[OsString]) -> CommandLineError {
    let mut command = subcommand(command, args);
    match error.kind() {
        // Shows help with the empty variables, which were removed from `command`.
        ErrorKind::DisplayHelp => {
            return Cli::command().try_get_matches_from(args).err().unwrap_or(error).into();
        }
        ErrorKind::InvalidUtf8 => {
            let not_text =
                |arg: &&Arg| arg.get_env().and_then(env::var_os).is_some_and(|it| it.to_str().is_none());
            if let Some(name) = command.get_arguments().find(not_text).and_then(variable) {
                return ConfigError::new(name, "is not UTF-8").into();
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            if let Some(wrong) = wrong_variable(&error, &command, args) {
                return wrong.into();
            }
        }
        _ => {}
    }
    if error.get(ContextKind::Usage).is_some() {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(command.render_usage()));
    }
    error.into()
}

/// The subcommand of the arguments, as far as clap has built it.
fn subcommand(command: &Command, args: &[OsString]) -> Command {
    let mut meant = command;
    for arg in args.iter().skip(1) {
        meant = arg.to_str().and_then(|name| meant.find_subcommand(name)).unwrap_or(meant);
    }
    meant.clone()
}

/// The error about the variable that a value came from; `None` if it came from the command line.
fn wrong_variable(error: &Error, command: &Command, args: &[OsString]) -> Option<ConfigError> {
    let Some(ContextValue::String(about)) = error.get(ContextKind::InvalidArg) else { return None };
    let arg = command.get_arguments().find(|arg| arg.to_string() == *about)?;
    let flag = format!("--{}", arg.get_long()?);
    let typed = |given: &OsString| given.to_str().is_some_and(|given| given.split('=').next() == Some(&flag));
    if args.iter().any(typed) {
        return None;
    }
    let name = variable(arg)?;
    let value = env::var_os(&*name)?.to_string_lossy().into_owned();
    let takes = match (error.get(ContextKind::ValidValue), std::error::Error::source(error)) {
        (Some(ContextValue::Strings(words)), _) => format!("it takes {}", words.join(" or ")),
        (_, Some(source)) => source.to_string(),
        _ => return None,
    };
    Some(if arg.is_hide_env_values_set() {
        ConfigError::new(name, takes)
    } else {
        ConfigError::new(name, format!("{value:?} can't be used: {takes}"))
    })
}

fn variable(arg: &Arg) -> Option<Cow<'static, str>> {
    Some(Cow::Owned(arg.get_env()?.to_str()?.to_owned()))
}

/// An integer within these bounds.
pub(crate) fn number(within: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| match text.trim().parse() {
        Ok(number) if within.contains(&number) => Ok(number),
        _ => Err(format!("it takes a whole number from {} to {}", within.start(), within.end())),
    }
}

/// A boolean, in the words that platforms use.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "y" | "t" => Ok(true),
        "false" | "0" | "no" | "off" | "n" | "f" => Ok(false),
        _ => Err("it takes true or false (also 1, yes, on; 0, no, off)".into()),
    }
}
