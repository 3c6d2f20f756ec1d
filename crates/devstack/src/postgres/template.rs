//! A cluster that is created once and copied for each test: `initdb` takes a second, a copy a tenth of that.
//!
//! Templates are below the temporary folder, one for each version of PostgreSQL and of this recipe.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cluster;
use crate::run_as::User;
use crate::{Error, temp_dir};

/// Small WAL segments: 1 MiB instead of 16 to copy, and to create when the server starts.
const RECIPE: [&str; 2] = ["--wal-segsize=1", "--no-sync"];
/// Raise it when the template's contents change.
const EDITION: u32 = 1;

/// Fills a new data folder.
pub(super) fn copy(programs: &Path, data: &Path, user: Option<User>) -> Result<(), Error> {
    let template = ensure(programs, user)?;
    copy_tree(&template, data, user)
}

fn ensure(programs: &Path, user: Option<User>) -> Result<PathBuf, Error> {
    let root = temp_dir::own_folder("orderd-template")?;
    let template = root.join(format!("{}-{EDITION}", version(programs)?));
    if template.is_dir() {
        return Ok(template);
    }
    let lock = root.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
    let file = file.map_err(Error::path("open", &lock))?;
    file.lock().map_err(Error::path("lock", &lock))?;
    if !template.is_dir() {
        make(programs, user, &root.join("making"), &template)?;
    }
    Ok(template)
}

/// Created under another name and renamed when complete, so that no test copies a part of it.
fn make(programs: &Path, user: Option<User>, work: &Path, template: &Path) -> Result<(), Error> {
    let _ = fs::remove_dir_all(work);
    fs::create_dir(work).map_err(Error::path("make", work))?;
    fs::set_permissions(work, fs::Permissions::from_mode(0o755)).map_err(Error::path("open", work))?;
    if let Some(user) = user {
        user.give_ownership(work)?;
    }
    let data = work.join("data");
    cluster::initialise(programs, &data, user, &RECIPE)?;
    fs::rename(&data, template).map_err(Error::path("keep", template))?;
    fs::remove_dir(work).map_err(Error::path("remove", work))
}

/// The full version: a package's update may change what `initdb` writes.
fn version(programs: &Path) -> Result<String, Error> {
    let program = programs.join("postgres");
    let output = Command::new(&program).arg("--version").output().map_err(Error::path("run", &program))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .chars()
        .map(|letter| if letter.is_alphanumeric() || letter == '.' { letter } else { '-' })
        .collect())
}

fn copy_tree(from: &Path, to: &Path, user: Option<User>) -> Result<(), Error> {
    let metadata = fs::metadata(from).map_err(Error::path("look at", from))?;
    fs::create_dir(to).map_err(Error::path("make", to))?;
    fs::set_permissions(to, metadata.permissions()).map_err(Error::path("close", to))?;
    for entry in fs::read_dir(from).map_err(Error::path("read", from))? {
        let entry = entry.map_err(Error::path("read", from))?;
        let target = to.join(entry.file_name());
        let is_dir = entry.file_type().map_err(Error::path("look at", &target))?.is_dir();
        if is_dir {
            copy_tree(&entry.path(), &target, user)?;
        } else {
            fs::copy(entry.path(), &target).map_err(Error::path("copy to", &target))?;
            give_to(&target, user)?;
        }
    }
    give_to(to, user)
}

fn give_to(path: &Path, user: Option<User>) -> Result<(), Error> {
    user.map_or(Ok(()), |user| user.give_ownership(path))
}
