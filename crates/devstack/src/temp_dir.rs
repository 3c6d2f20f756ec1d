//! Temporary folders, removed when they are dropped.
//!
//! They are in a folder that every user can enter, because PostgreSQL runs as another user when we are root. The next
//! test removes the folders of a killed one.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process_tree::ProcessIdentity;
use crate::run_as::User;
use crate::{Error, small_disk};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A temporary folder, removed on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// A new, empty folder.
    pub fn new() -> Result<Self, Error> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = own_folder("orderd-scratch")?;
        if number == 0 {
            sweep(&root);
        }
        let start_time = ProcessIdentity::of(std::process::id()).map_or(0, |identity| identity.start_time);
        let path = root.join(format!("{}-{start_time}-{number}", std::process::id()));
        make(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A temporary directory that the servers' user can enter: from the environment, or the system's.
fn temporary() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let asked = std::env::temp_dir();
    let Ok(Some(user)) = User::of_postgres() else { return asked };
    let open = || if user.can_enter(&asked) { asked.clone() } else { PathBuf::from("/tmp") };
    FOUND.get_or_init(open).clone()
}

/// This user's folder below the temporary directory; never one that another user has created with that name.
pub(crate) fn own_folder(name: &str) -> Result<PathBuf, Error> {
    let uid = rustix::process::geteuid().as_raw();
    let path = temporary().join(format!("{name}-{uid}"));
    make(&path)?;
    let found = fs::symlink_metadata(&path).map_err(Error::path("look at", &path))?;
    if found.is_dir() && found.uid() == uid {
        return Ok(path);
    }
    Err(Error::failed(format!("use {}", path.display()), "another user owns it; remove it"))
}

fn make(path: &Path) -> Result<(), Error> {
    let made = match fs::create_dir(path) {
        // A restrictive umask must not lock out the servers' user.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(Error::path("make", path))
}

/// Removes the folders of processes that have ended.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(owner).is_some_and(|owner| !owner.is_alive()) {
            small_disk::release(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn owner(name: &str) -> Option<ProcessIdentity> {
    let mut parts = name.split('-');
    Some(ProcessIdentity { pid: parts.next()?.parse().ok()?, start_time: parts.next()?.parse().ok()? })
}
