//! The copy of the advisory database in `.ci/advisories`, and advisories from a folder of that form.
//!
//! `crates/` has RustSec's advisories for crates of our lock files, unchanged; `names` has every crate with an advisory
//! at that time, which shows whether the copy may lack advisories for a crate added later; `commit` has the database's
//! commit and date.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustsec::Database;

use super::fresh::Checkout;
use super::locked::Locked;

pub(super) struct Advisories {
    pub(super) database: Database,
    /// The day of the commit.
    pub(super) date: String,
    committed: SystemTime,
    /// Crates whose advisories were left out.
    left_out: BTreeSet<String>,
}

impl Advisories {
    /// From the copy.
    pub(super) fn open(copy: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = copy.join(name);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let names = read("names")?;
        let has = |name: &&str| copy.join("crates").join(name).is_dir();
        let left_out = names.lines().filter(|name| !has(name)).map(str::to_owned).collect();
        Self::of(copy, &read("commit")?, left_out)
    }

    /// Of a folder with advisories below `crates`; `commit` as the file of that name has it.
    pub(super) fn of(dir: &Path, commit: &str, left_out: BTreeSet<String>) -> Result<Self> {
        let database = Database::open(dir)
            .with_context(|| format!("cannot read the advisories in {}", dir.display()))?;
        let words: Vec<&str> = commit.split_whitespace().collect();
        let [_, seconds, date] = words[..] else {
            bail!("cannot read of when the advisories in {} are: {commit:?}", dir.display())
        };
        let seconds = seconds.parse().with_context(|| format!("{seconds:?} is not a time"))?;
        let committed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Ok(Self { database, date: date.to_owned(), committed, left_out })
    }

    /// At this time.
    pub(super) fn age_in_days(&self, now: SystemTime) -> u64 {
        now.duration_since(self.committed).unwrap_or_default().as_secs() / (24 * 60 * 60)
    }

    /// Crates of the lock files whose advisories are not here.
    pub(super) fn missing<'a>(&self, locked: &'a Locked) -> Vec<&'a str> {
        let names: BTreeSet<&str> = locked.crates.iter().map(|krate| krate.name.as_str()).collect();
        names.into_iter().filter(|name| self.left_out.contains(*name)).collect()
    }
}

/// Writes the copy of a checkout, for the crates of the lock files.
pub(super) fn write(checkout: &Checkout, copy: &Path, locked: &Locked) -> Result<()> {
    let target = copy.join("crates");
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let names = checkout.names()?;
    for name in &names {
        if locked.crates.iter().any(|krate| krate.name == *name) {
            copy_files(&checkout.dir.join("crates").join(name), &target.join(name))?;
        }
    }
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    for (name, text) in [("names", &lines), ("commit", &checkout.commit)] {
        let file = copy.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        fs::copy(entry.path(), to.join(entry.file_name())).with_context(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_that_of_the_commit() {
        let temp_dir = devstack::TempDir::new().unwrap();
        fs::create_dir(temp_dir.path().join("crates")).unwrap();
        let advisories = Advisories::of(temp_dir.path(), "abc 86400 1970-01-02\n", BTreeSet::new()).unwrap();
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86400);
        assert_eq!([1, 2, 40].map(|days| advisories.age_in_days(at(days))), [0, 1, 39]);
        // With a clock that is behind.
        assert_eq!(advisories.age_in_days(at(0)), 0);
        assert!(Advisories::of(temp_dir.path(), "abc\n", BTreeSet::new()).is_err());
    }
}
