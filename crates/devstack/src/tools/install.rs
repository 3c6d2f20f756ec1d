//! Installs programs: one at a time, with a line before and after each; nothing asks questions or starts servers.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{Report, tools_dir};
use crate::Error;

/// Debian's setting by which the first installation of PostgreSQL creates and starts no cluster.
const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// A package of Debian's.
pub(super) struct Debian<'a> {
    /// Its name in messages.
    pub(super) what: &'a str,
    pub(super) package: &'a str,
}

/// The result of `find`, if need be after `install`. `missing` is the error if it still finds nothing.
pub(super) fn ensure(
    find: impl Fn() -> Option<PathBuf>,
    install: impl FnOnce() -> Result<(), Error>,
    missing: impl FnOnce() -> Error,
) -> Result<PathBuf, Error> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let _lock = lock()?;
    if let Some(found) = find() {
        return Ok(found);
    }
    install()?;
    find().ok_or_else(missing)
}

/// Held while installing. Other processes wait for it, and then find the program installed.
fn lock() -> Result<File, Error> {
    let dir = tools_dir();
    fs::create_dir_all(&dir).map_err(Error::path("make", &dir))?;
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::path("open", &path))?;
    file.lock().map_err(Error::path("lock", &path))?;
    Ok(file)
}

/// Runs a step, and reports what it does and how long it took.
pub(super) fn timed(
    what: &str,
    report: Report,
    step: impl FnOnce(Report) -> Result<(), Error>,
) -> Result<(), Error> {
    report(&format!("installing {what}"));
    let start = Instant::now();
    step(report)?;
    report(&format!("installed {what} in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Installs a package, if we are root.
pub(super) fn debian(wanted: &Debian, report: Report) -> Result<(), Error> {
    let Debian { what, package } = *wanted;
    let command = format!("apt-get install {package}");
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Missing {
            what: what.to_owned(),
            advice: format!("install it by `sudo {command}`"),
        });
    }
    if super::on_path("apt-get").is_none() {
        let advice = format!("install it by your system's means (on Debian: `{command}`)");
        return Err(Error::Missing { what: what.to_owned(), advice });
    }
    timed(&format!("{what} (Debian's package `{package}`)"), report, |_| {
        with_lists(|| {
            let mut apt = Command::new("apt-get");
            apt.args(["install", "-y", "-qq", "--no-install-recommends"]);
            // Waits for another installation on the machine.
            apt.args(["-o", "DPkg::Lock::Timeout=300", package]);
            run(&format!("install {what}"), apt)
        })
    })
}

/// Runs an apt step, and repeats it after an update of the package lists, which may be outdated or missing.
pub(super) fn with_lists(step: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    if step().is_ok() {
        return Ok(());
    }
    let mut update = Command::new("apt-get");
    update.args(["update", "-qq"]);
    run("read the lists of Debian's packages", update)?;
    step()
}

/// Runs a program without a terminal; the error contains its output.
pub(super) fn run(action: &str, mut command: Command) -> Result<(), Error> {
    command.stdin(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive").env("UCF_FORCE_CONFFOLD", "1");
    let output = command.output().map_err(Error::io(action))?;
    Error::check(action, output).map(|_| ())
}

/// Unpacks programs from a folder of a Debian package into this workspace, without an installation: the machine gets no
/// service and no user.
pub(super) fn unpack(package: &str, folder: &str, programs: &[&str]) -> Result<(), Error> {
    let work = tools_dir().join("unpacking");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(Error::path("make", &work))?;
    let result = download(package, &work).and_then(|file| {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("-x").arg(file).arg(&work);
        run(&format!("unpack {package}"), dpkg)?;
        programs.iter().try_for_each(|program| {
            let target = tools_dir().join(program);
            fs::rename(work.join(folder).join(program), &target).map_err(Error::path("install", &target))
        })
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn download(package: &str, work: &Path) -> Result<PathBuf, Error> {
    let what = format!("fetch {package}");
    with_lists(|| {
        let mut apt = Command::new("apt-get");
        // apt warns that its sandbox user can't write there, and downloads as root.
        apt.args(["download", "-qq", package]).current_dir(work);
        run(&what, apt)
    })?;
    let entries = fs::read_dir(work).map_err(Error::path("read", work))?;
    let found =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "deb"));
    found.ok_or_else(|| Error::failed(what, "apt-get brought no package"))
}

/// Keeps an existing setting: then PostgreSQL's packages were installed before.
pub(super) fn without_main_cluster() -> Result<(), Error> {
    let path = Path::new(CREATE_CLUSTER);
    if path.exists() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir).map_err(Error::path("make", dir))?;
    fs::write(path, "create_main_cluster = false\n").map_err(Error::path("write", path))
}
