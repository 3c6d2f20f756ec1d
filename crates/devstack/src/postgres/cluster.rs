//! The data folder of a private PostgreSQL: made by `initdb` or copied from a template, and whether
//! the server on it is ready.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DATABASE, PostgresOptions, template};
use crate::run_as::User;
use crate::{Error, tools};

/// PostgreSQL needs a folder for itself; the log is beside it.
pub(super) fn data_of(home: &Path) -> PathBuf {
    home.join("data")
}

/// The programs that can read the existing data, or the newest ones.
pub(super) fn programs_for(home: &Path) -> Result<PathBuf, Error> {
    let advice = "install it by `apt-get install postgresql` (`cargo xtask up` and `test` do so)".to_owned();
    let Some(major) = major_of_data(home) else {
        return tools::find_postgres().ok_or(Error::Missing { what: "PostgreSQL".to_owned(), advice });
    };
    tools::find_postgres_of(major).ok_or_else(|| Error::Missing {
        what: format!("PostgreSQL {major}, which wrote {}", home.display()),
        advice: format!("install it by `apt-get install postgresql-{major}`, or move the folder away"),
    })
}

fn major_of_data(home: &Path) -> Option<u32> {
    fs::read_to_string(data_of(home).join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Fills the folder where it is empty.
pub(super) fn prepare(
    programs: &Path,
    home: &Path,
    user: Option<User>,
    options: &PostgresOptions,
) -> Result<(), Error> {
    let data = data_of(home);
    if major_of_data(home).is_some() {
        return Ok(());
    }
    if options.template {
        template::copy(programs, &data, user)?;
    } else {
        initialise(programs, &data, user, &[])?;
    }
    match &options.password {
        Some(word) => single(
            programs,
            &data,
            user,
            &format!("alter user postgres password '{}'", word.replace('\'', "''")),
        ),
        None => Ok(()),
    }
}

/// Runs `initdb` and creates the database.
pub(super) fn initialise(
    programs: &Path,
    data: &Path,
    user: Option<User>,
    more: &[&str],
) -> Result<(), Error> {
    let mut initdb = as_user(Command::new(programs.join("initdb")), data, user);
    initdb.arg("-D").arg(data).args(["-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8"]);
    initdb.args(["--auth=trust", "--no-instructions"]).args(more);
    let action = format!("make a PostgreSQL cluster in {}", data.display());
    let output = initdb.output().map_err(Error::io(&action))?;
    Error::check(&action, output)?;
    single(programs, data, user, &format!("create database {DATABASE}"))
}

/// Copies the data of a running server, as its standby.
pub(super) fn copy_running(programs: &Path, home: &Path, user: Option<User>, url: &str) -> Result<(), Error> {
    let data = data_of(home);
    let mut copy = as_user(Command::new(programs.join("pg_basebackup")), &data, user);
    copy.arg("-D").arg(&data).args(["--dbname", url, "--write-recovery-conf", "--wal-method=stream"]);
    let output = copy.args(["--checkpoint=fast", "--no-sync"]).output();
    let output = output.map_err(Error::io("copy a running PostgreSQL"))?;
    Error::check("copy a running PostgreSQL", output).map(drop)
}

/// Runs one statement without a server.
fn single(programs: &Path, data: &Path, user: Option<User>, sql: &str) -> Result<(), Error> {
    let action = "prepare a PostgreSQL cluster";
    let mut command = as_user(Command::new(programs.join("postgres")), data, user);
    command.args(["--single", "-D"]).arg(data).arg("postgres");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io(action))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(format!("{sql};\n").as_bytes()).map_err(Error::io(action))?;
    }
    let output = child.wait_with_output().map_err(Error::io(action))?;
    let output = Error::check(action, output)?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if words.contains("ERROR:") { Err(Error::failed(action, words.trim())) } else { Ok(()) }
}

fn as_user(mut command: Command, data: &Path, user: Option<User>) -> Command {
    command.stdin(Stdio::null()).current_dir(data.parent().unwrap_or(data));
    if let Some(user) = user {
        user.apply(&mut command);
    }
    command
}

/// Whether the server with this pid accepts connections, according to its pid file, which may still be that of a killed
/// server.
pub(super) fn is_ready(home: &Path, pid: u32) -> bool {
    let file = fs::read_to_string(data_of(home).join("postmaster.pid")).unwrap_or_default();
    let mut lines = file.lines();
    let own = lines.next().is_some_and(|line| line.trim() == pid.to_string());
    own && lines.nth(6).is_some_and(|line| ["ready", "standby"].contains(&line.trim()))
}

/// Frees the shared memory that a killed server has left. Its next start would do so, but this folder has none.
pub(super) fn release_memory(home: &Path) {
    let file = fs::read_to_string(data_of(home).join("postmaster.pid")).unwrap_or_default();
    let Some(id) = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) else { return };
    let _ = Command::new("ipcrm").args(["-m", id]).stdin(Stdio::null()).stderr(Stdio::null()).status();
}
