//! `cargo xtask advisories`: RustSec's advisories for every crate that the lock files name, vendored ones too.
//!
//! The rustsec crate reads the advisories. `cargo audit` and `cargo deny` skip path dependencies, and so vendored
//! crates; and both need the whole database, which CI may be unable to fetch.

mod copy;
mod fresh;
mod locked;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use devstack::tools;
use rustsec::Advisory;
use rustsec::advisory::Informational;
use rustsec::database::Query;

use crate::say;
use copy::Advisories;
use locked::Locked;

/// Check every crate in Cargo.lock, fuzz/Cargo.lock and vendor/ for RustSec advisories
///
/// Matches name and version. Uses the current advisory database, or, if that can't be reached, the copy in
/// .ci/advisories, with a warning if the copy is old. Exit code 1 if an advisory matches a version, or if the copy may
/// lack an advisory for a crate that was added later.
///
/// Examples: cargo xtask advisories
///           cargo xtask advisories --update
///           cargo xtask advisories --update --from /srv/mirrors/advisory-db
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Update the copy in .ci/advisories from the current database
    #[arg(long)]
    update: bool,
    /// Use the copy without looking for a newer database
    #[arg(long, conflicts_with = "update")]
    offline: bool,
    /// The git repository of the database, by URL or path
    #[arg(long, value_name = "REPOSITORY", default_value = fresh::DATABASE)]
    from: String,
    /// Warn if the copy is older than this many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    max_age: u64,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let workspace = tools::workspace();
    let locked = Locked::read(&workspace)?;
    let copy = workspace.join(".ci").join("advisories");
    if options.update {
        let checkout = fresh::checkout(&options.from)?;
        copy::write(&checkout, &copy, &locked)?;
    }
    let advisories = if options.offline || options.update {
        Advisories::open(&copy)?
    } else {
        fresh::checkout(&options.from).and_then(|checkout| checkout.advisories()).or_else(|error| {
            say(&format!("advisories: {error:#}; using the copy in .ci/advisories"));
            Advisories::open(&copy)
        })?
    };
    let age = advisories.age_in_days(SystemTime::now());
    if age > options.max_age {
        say(&format!(
            "warning: these advisories are {age} days old; `cargo xtask advisories --update` makes a new copy"
        ));
    }
    say(&report(&advisories, &locked)?);
    Ok(ExitCode::SUCCESS)
}

/// The summary; an error if an advisory matches, or if one could be missing.
fn report(advisories: &Advisories, locked: &Locked) -> Result<String> {
    let missing = advisories.missing(locked);
    if !missing.is_empty() {
        bail!(
            "the copy in .ci/advisories has not the advisories for {}: run `cargo xtask advisories --update`",
            missing.join(", ")
        );
    }
    let (mut matching, mut warnings) = (String::new(), String::new());
    for krate in &locked.crates {
        let query = Query::new()
            .collection(rustsec::Collection::Crates)
            .withdrawn(false)
            .package_name(krate.name.parse().with_context(|| format!("{} names no crate", krate.name))?)
            .package_version(krate.version.clone());
        for advisory in advisories.database.query(&query) {
            let list = if is_dangerous(advisory) { &mut matching } else { &mut warnings };
            let (id, title) = (advisory.id(), advisory.title());
            write!(list, "\n{} {}: {id}, {title}", krate.name, krate.version)?;
        }
    }
    if !matching.is_empty() {
        bail!("advisories match versions in {}:{matching}{warnings}", locked.files.join(", "));
    }
    Ok(format!(
        "advisories: looked at {} crates of {}, vendored: {}; none of the {} advisories of {} matches a version{}{warnings}",
        locked.crates.len(),
        locked.files.join(", "),
        locked.vendored.join(", "),
        advisories.database.iter().count(),
        advisories.date,
        if warnings.is_empty() { "" } else { "; to know:" },
    ))
}

/// Ignores notices and unmaintained crates, which are not defects of a version.
fn is_dangerous(advisory: &Advisory) -> bool {
    match &advisory.metadata.informational {
        None => true,
        Some(kind) => !matches!(kind, Informational::Notice | Informational::Unmaintained),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn advisory(dir: &Path, name: &str, id: &str, more: &str) {
        let dir = dir.join("crates").join(name);
        fs::create_dir_all(&dir).unwrap();
        let text = format!(
            "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{name}\"\ndate = \"2026-01-01\"\n{more}\n\
            [versions]\npatched = [\">= 2.0.0\"]\n```\n\n# Title of {id}\n\nText.\n"
        );
        fs::write(dir.join(format!("{id}.md")), text).unwrap();
    }

    /// The report for a lock file with these crates and a database with these advisories.
    fn said(locked: &[(&str, &str)], prepare: impl Fn(&Path)) -> Result<String> {
        let temp_dir = devstack::TempDir::new().unwrap();
        let dir = temp_dir.path();
        fs::create_dir(dir.join("crates")).unwrap();
        fs::write(dir.join("commit"), "abc 1700000000 2023-11-14\n").unwrap();
        fs::write(dir.join("names"), "known\nother\n").unwrap();
        prepare(dir);
        let lock: String = locked
            .iter()
            .map(|(name, version)| {
                format!(
                    "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\
                    source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"
                )
            })
            .collect();
        fs::write(dir.join("Cargo.lock"), format!("version = 4\n{lock}")).unwrap();
        report(&Advisories::open(dir)?, &Locked::read(dir)?)
    }

    #[test]
    fn version_that_an_advisory_matches_is_an_error_with_its_id() {
        let said =
            |version| said(&[("known", version)], |dir| advisory(dir, "known", "RUSTSEC-2026-0001", ""));
        let error = said("1.9.0").unwrap_err().to_string();
        assert!(error.contains("known 1.9.0: RUSTSEC-2026-0001, Title of RUSTSEC-2026-0001"), "{error}");
        assert!(said("2.0.0").unwrap().contains("looked at 1 crates of Cargo.lock"));
    }

    #[test]
    fn unsound_version_is_an_error_and_an_unmaintained_one_a_line() {
        let said =
            |kind: &str| said(&[("known", "1.0.0")], |dir| advisory(dir, "known", "RUSTSEC-2026-0001", kind));
        assert!(said("informational = \"unsound\"").is_err());
        assert!(said("informational = \"unmaintained\"").unwrap().contains("to know:\nknown 1.0.0"));
        assert!(!said("withdrawn = \"2026-01-02\"").unwrap().contains("known"));
    }

    #[test]
    fn crate_whose_advisories_the_copy_lacks_is_an_error() {
        let error = said(&[("other", "1.0.0"), ("new", "1.0.0")], |_| {}).unwrap_err().to_string();
        assert!(error.contains("has not the advisories for other:"), "{error}");
        // RustSec had none for this name.
        assert!(said(&[("new", "1.0.0")], |_| {}).is_ok());
    }

    #[test]
    fn our_own_crates_are_not_asked_for_but_vendored_ones_are() {
        let lock = "\n[[package]]\nname = \"known\"\nversion = \"1.0.0\"\n";
        let prepare = |vendored: bool| {
            move |dir: &Path| {
                advisory(dir, "known", "RUSTSEC-2026-0001", "");
                fs::create_dir_all(dir.join("fuzz")).unwrap();
                fs::write(dir.join("fuzz/Cargo.lock"), format!("version = 4\n{lock}")).unwrap();
                if vendored {
                    fs::create_dir_all(dir.join("vendor/known")).unwrap();
                    fs::write(dir.join("vendor/known/Cargo.toml"), "").unwrap();
                    fs::write(dir.join("vendor/known/Cargo.lock"), "of its authors").unwrap();
                }
            }
        };
        assert!(
            said(&[], prepare(false)).unwrap().contains("looked at 0 crates of Cargo.lock, fuzz/Cargo.lock")
        );
        assert!(said(&[], prepare(true)).unwrap_err().to_string().contains("known 1.0.0"));
        let unused = |dir: &Path| {
            fs::create_dir_all(dir.join("vendor/unused")).unwrap();
            fs::write(dir.join("vendor/unused/Cargo.toml"), "").unwrap();
        };
        assert!(said(&[], unused).unwrap_err().to_string().contains("vendor/unused"));
    }

    /// The copy in the repository, and the crates that we build from.
    #[test]
    fn no_advisory_of_the_copy_matches_a_version_that_we_build_from() {
        let workspace = tools::workspace();
        let locked = Locked::read(&workspace).unwrap();
        assert_eq!(locked.files, ["Cargo.lock", "fuzz/Cargo.lock"]);
        assert_eq!(locked.vendored, ["async-nats"]);
        assert!(locked.crates.len() > 200, "{}", locked.crates.len());
        report(&Advisories::open(&workspace.join(".ci/advisories")).unwrap(), &locked).unwrap();
    }
}
