//! Runs PostgreSQL as the user `postgres` if we are root, since it refuses to run as root. That user must be able to
//! reach its files: it can't enter a folder below `/root`, or one from `mktemp -d`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::Error;

/// Fallback for data in a folder that the server's user can't enter.
const ELSEWHERE: &str = "/var/lib/orderd";

/// Raises this process's limit of open files to the maximum.
pub fn raise_file_limit() -> Result<(), Error> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    raised.map_err(|error| Error::io("raise the limit of open files")(error.into()))
}

/// A user and its group by number.
#[derive(Clone, Copy, Debug)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user for PostgreSQL: ours, or `postgres` when we are root.
    pub(crate) fn of_postgres() -> Result<Option<Self>, Error> {
        static KNOWN: OnceLock<User> = OnceLock::new();
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Some(user) = KNOWN.get() {
            return Ok(Some(*user));
        }
        let missing = || Error::Missing {
            what: "the user `postgres`, which runs PostgreSQL when root starts it,".to_owned(),
            advice: "create it with `useradd --system postgres`".to_owned(),
        };
        let uid = number_of("-u").ok_or_else(missing)?;
        let gid = number_of("-g").ok_or_else(missing)?;
        Ok(Some(*KNOWN.get_or_init(|| Self { uid, gid })))
    }

    /// Makes a command run as this user, without root's supplementary groups.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Makes this user the owner of a file or a folder, not of its contents.
    pub(crate) fn give_ownership(self, path: &Path) -> Result<(), Error> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::path("hand over", path))
    }

    /// Whether this user can enter a folder. Asks the system, so that access control lists count.
    pub(crate) fn can_enter(self, dir: &Path) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", r#"cd -- "$1""#, "enter"]).arg(dir).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

fn number_of(flag: &str) -> Option<u32> {
    let output = Command::new("id").args([flag, "postgres"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The folder for the server's data: the requested one, created if missing, or another that `user` can reach, with a
/// link at the requested path.
pub(crate) fn reachable_folder(asked: &Path, user: Option<User>) -> Result<PathBuf, Error> {
    let asked = std::path::absolute(asked).map_err(Error::path("resolve", asked))?;
    if let Ok(target) = fs::read_link(&asked) {
        // A link of an earlier run, whose target may have been removed.
        fs::create_dir_all(&target).map_err(Error::path("make", &target))?;
    }
    fs::create_dir_all(&asked).map_err(Error::path("make", &asked))?;
    let real = asked.canonicalize().map_err(Error::path("resolve", &asked))?;
    let Some(user) = user else { return Ok(real) };
    let parent = real.parent().unwrap_or(&real);
    if !user.can_enter(parent) {
        return elsewhere(&real, user);
    }
    user.give_ownership(&real)?;
    Ok(real)
}

/// Moves only an empty folder: other contents are not ours.
fn elsewhere(asked: &Path, user: User) -> Result<PathBuf, Error> {
    let mut hasher = DefaultHasher::new();
    asked.hash(&mut hasher);
    let real = Path::new(ELSEWHERE).join(format!("{:016x}", hasher.finish()));
    fs::create_dir_all(&real).map_err(Error::path("make", &real))?;
    open_to_all(Path::new(ELSEWHERE))?;
    user.give_ownership(&real)?;
    fs::remove_dir(asked).map_err(Error::path("replace by a link", asked))?;
    symlink(&real, asked).map_err(Error::path("link", asked))?;
    Ok(real)
}

fn open_to_all(dir: &Path) -> Result<(), Error> {
    let mode = fs::metadata(dir).map_err(Error::path("look at", dir))?.mode();
    let permissions = fs::Permissions::from_mode(mode | 0o555);
    fs::set_permissions(dir, permissions).map_err(Error::path("open", dir))
}
