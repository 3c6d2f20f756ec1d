//! The data folder of `up`: its lock, and the settings in it for `cargo xtask orderd`.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use devstack::tools;

/// The setting that names the service's program.
pub(crate) const PROGRAM: &str = "ORDERD_PROGRAM";

/// The data folder, locked while `up` uses it.
pub(crate) struct DataDir {
    path: PathBuf,
    lock: Option<File>,
}

impl DataDir {
    /// The requested folder, or `.orderd` in the workspace, whatever the current directory.
    pub(crate) fn at(asked: Option<PathBuf>) -> Result<Self> {
        let path = asked.unwrap_or_else(|| tools::workspace().join(".orderd"));
        let path =
            std::path::absolute(&path).with_context(|| format!("cannot resolve {}", path.display()))?;
        Ok(Self { path, lock: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the folder for this process; the lock ends with the process.
    pub(crate) fn lock(&mut self) -> Result<()> {
        let action = || format!("cannot use the data folder {}", self.path.display());
        fs::create_dir_all(&self.path).with_context(action)?;
        let file = self.open_lock().with_context(action)?;
        if file.try_lock().is_err() {
            bail!(
                "{}: `cargo xtask up` already runs on it; stop that one, or name another folder by --data-dir",
                action()
            );
        }
        self.lock = Some(file);
        Ok(())
    }

    /// Writes the settings for other programs, atomically.
    pub(crate) fn keep_settings(&self, program: &Path, settings: &[(String, String)]) -> Result<()> {
        let mut text = format!("{PROGRAM}={}\n", program.display());
        for (name, value) in settings {
            text += &format!("{name}={value}\n");
        }
        let new = self.path.join("env.new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, self.settings_file()))
            .with_context(|| format!("cannot write {}", self.settings_file().display()))
    }

    /// Removes the settings.
    pub(crate) fn forget_settings(&self) {
        let _ = fs::remove_file(self.settings_file());
    }

    /// The settings of a running `up`, if any.
    pub(crate) fn settings_in_use(&self) -> Option<Vec<(String, String)>> {
        // An `up` that was killed has left its settings, but not its lock.
        if self.open_lock().ok()?.try_lock().is_ok() {
            return None;
        }
        let text = fs::read_to_string(self.settings_file()).ok()?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn settings_file(&self) -> PathBuf {
        self.path.join("env")
    }

    fn open_lock(&self) -> std::io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join("lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_use_only_while_the_folder_is_locked() {
        let temp_dir = devstack::TempDir::new().unwrap();
        let at = || DataDir::at(Some(temp_dir.path().join("data"))).unwrap();
        let mut dir = at();
        assert_eq!(at().settings_in_use(), None);
        dir.lock().unwrap();
        assert_eq!(at().settings_in_use(), None);
        let settings = vec![("PG_PORT".to_owned(), "1".to_owned()), ("X".to_owned(), "a=b c".to_owned())];
        dir.keep_settings(Path::new("/bin/orderd"), &settings).unwrap();
        let found = at().settings_in_use().unwrap();
        assert_eq!(found[0], (PROGRAM.to_owned(), "/bin/orderd".to_owned()));
        assert_eq!(found[1..], settings);
        assert!(at().lock().unwrap_err().to_string().contains("already runs"));
        drop(dir);
        assert_eq!(at().settings_in_use(), None);
    }
}
