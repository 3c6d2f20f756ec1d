//! Values that are loaded from files, and reloaded when a file changes: tokens, passwords, credentials, certificates.
//! If a changed file is invalid, the former value stays.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{ConfigError, bounded_file};

/// Reads files, and records their state and the expiry of certificates in them.
#[derive(Default, Debug)]
pub(crate) struct Files {
    seen: Vec<(PathBuf, Option<FileStamp>)>,
    ends: Vec<(&'static str, i64)>,
}

/// Metadata that change when a file is written or replaced, also through a symbolic link in its path.
#[derive(PartialEq, Eq, Debug)]
struct FileStamp {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Why it can't be read.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        // Read before the content, so that a concurrent write counts as a change. A pipe can't be read twice.
        match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => {}
            found => self.seen.push((path.into(), found.ok().as_ref().map(FileStamp::of))),
        }
        bounded_file::read(path)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// Why it can't be read, or that it is not UTF-8.
    pub(crate) fn read_text(&mut self, path: &Path) -> io::Result<String> {
        let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
        String::from_utf8(self.read(path)?).map_err(not_text)
    }

    /// Whether a file exists. It is watched like a file that is read.
    pub(crate) fn is_file(&mut self, path: &Path) -> bool {
        let found = std::fs::metadata(path).ok();
        let is_file = found.as_ref().is_some_and(Metadata::is_file);
        if found.is_none() || is_file {
            self.seen.push((path.into(), found.as_ref().map(FileStamp::of)));
        }
        is_file
    }

    /// Records when a certificate of this setting expires, in Unix seconds.
    pub(crate) fn note_end(&mut self, setting: &'static str, end: Option<i64>) {
        self.ends.extend(end.map(|end| (setting, end)));
    }

    fn have_changed(&self) -> bool {
        let now = |path: &Path| std::fs::metadata(path).ok().as_ref().map(FileStamp::of);
        self.seen.iter().any(|(path, stamp)| now(path) != *stamp)
    }
}

/// A value that is loaded from files.
pub struct Reloaded<T>(Arc<WatchedSetting<T>>);

struct WatchedSetting<T> {
    setting: &'static str,
    make: Parse<T>,
    current: RwLock<Arc<T>>,
    files: Mutex<Files>,
    /// Why the current files can't be used.
    problem: Mutex<Option<String>>,
}

type Parse<T> = Box<dyn Fn(&mut Files) -> Result<T, ConfigError> + Send + Sync>;

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The value is mostly secret.
impl<T> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reloaded").field(&self.0.setting).finish()
    }
}

impl<T> Reloaded<T> {
    /// Loads it for the first time.
    ///
    /// # Errors
    /// What can't be used.
    pub(crate) fn new(
        setting: &'static str,
        make: impl Fn(&mut Files) -> Result<T, ConfigError> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let mut files = Files::default();
        let current = RwLock::new(Arc::new(make(&mut files)?));
        let (files, problem) = (Mutex::new(files), Mutex::default());
        Ok(Self(Arc::new(WatchedSetting { setting, make: Box::new(make), current, files, problem })))
    }

    /// The value, reloaded first if one of its files has changed.
    pub(crate) fn fresh(&self) -> Arc<T>
    where
        T: Send + Sync,
    {
        if let Some(read) = self.reload(false) {
            log(self.setting(), &read);
        }
        self.current()
    }

    /// The current value.
    pub fn current(&self) -> Arc<T> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Logs that files were reloaded, or why they can't be used.
pub(crate) fn log(setting: &str, read: &Result<(), ConfigError>) {
    match read {
        Ok(()) => tracing::info!(setting, "files of settings read again"),
        Err(error) => {
            tracing::error!(%error, "a changed file can't be used; its previous content stays in use")
        }
    }
}

/// A value that is loaded from files.
pub(crate) trait Reload: Send + Sync {
    /// Its setting.
    fn setting(&self) -> &'static str;

    /// Reloads it if one of its files has changed, or `always`. `None` if nothing has changed.
    fn reload(&self, always: bool) -> Option<Result<(), ConfigError>>;

    /// Why the current files can't be used.
    fn problem(&self) -> Option<String>;

    /// The expiries of certificates in it, by setting, in Unix seconds.
    fn ends(&self) -> Vec<(&'static str, i64)>;
}

impl<T: Send + Sync> Reload for Reloaded<T> {
    fn setting(&self) -> &'static str {
        self.0.setting
    }

    fn reload(&self, always: bool) -> Option<Result<(), ConfigError>> {
        let mut files = self.0.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.seen.is_empty() || !(always || files.have_changed()) {
            return None;
        }
        let mut read = Files::default();
        let made = (self.0.make)(&mut read);
        // Also for unusable files: they are reloaded after the next change. Files that were not reached stay watched.
        for (path, stamp) in std::mem::take(&mut files.seen) {
            if made.is_err() && !read.seen.iter().any(|(seen, _)| *seen == path) {
                read.seen.push((path, stamp));
            }
        }
        files.seen = read.seen;
        *self.0.problem.lock().unwrap_or_else(PoisonError::into_inner) =
            made.as_ref().err().map(ToString::to_string);
        Some(made.map(|made| {
            files.ends = read.ends;
            *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made);
        }))
    }

    fn problem(&self) -> Option<String> {
        self.0.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ends(&self) -> Vec<(&'static str, i64)> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner).ends.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn two_numbers(dir: &Path) -> Reloaded<(u32, u32)> {
        let (first, second) = (dir.join("first"), dir.join("second"));
        Reloaded::new("TEST", move |files| {
            let mut number = |path: &Path| {
                let text = files.read_text(path).map_err(|error| ConfigError::new("TEST", error))?;
                text.trim().parse::<u32>().map_err(|error| ConfigError::new("TEST", error))
            };
            let made = (number(&first)?, number(&second)?);
            if made.0 + 1 == made.1 { Ok(made) } else { Err(ConfigError::new("TEST", "they don't match")) }
        })
        .unwrap()
    }

    fn temp_dir() -> devstack::TempDir {
        devstack::TempDir::new().unwrap()
    }

    #[test]
    fn files_that_do_not_match_yet_leave_the_current_value() {
        let dir = temp_dir();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("first", "1");
        write("second", "2");
        let value = two_numbers(dir.path());
        assert!(value.reload(false).is_none());
        assert!(value.reload(true).unwrap().is_ok(), "as requested");
        write("first", "50");
        assert!(value.reload(false).unwrap().is_err());
        assert_eq!(*value.current(), (1, 2));
        assert!(value.reload(false).is_none(), "said once");
        assert!(value.problem().is_some_and(|problem| problem.contains("don't match")));
        write("second", "51");
        assert!(value.reload(false).unwrap().is_ok());
        assert_eq!(*value.current(), (50, 51));
        assert_eq!(value.problem(), None);
        std::fs::remove_file(dir.path().join("first")).unwrap();
        assert!(value.reload(false).unwrap().is_err());
        write("second", "61");
        assert!(
            value.reload(false).unwrap().is_err(),
            "the second is watched, though the first is not there"
        );
        write("first", "60");
        assert!(value.reload(false).unwrap().is_ok());
        assert_eq!(*value.current(), (60, 61));
    }

    /// As Kubernetes replaces mounted files: `first` is a link to `..data/first`, `..data` a link to a folder.
    #[test]
    fn another_folder_behind_a_link_is_seen() {
        let dir = temp_dir();
        let path = |name: &str| dir.path().join(name);
        for (folder, first, second) in [("old", "1", "2"), ("new", "3", "4")] {
            std::fs::create_dir(path(folder)).unwrap();
            std::fs::write(path(folder).join("first"), first).unwrap();
            std::fs::write(path(folder).join("second"), second).unwrap();
        }
        symlink("old", path("..data")).unwrap();
        symlink("..data/first", path("first")).unwrap();
        symlink("..data/second", path("second")).unwrap();
        let value = two_numbers(dir.path());
        symlink("new", path("..next")).unwrap();
        std::fs::rename(path("..next"), path("..data")).unwrap();
        assert!(value.reload(false).unwrap().is_ok());
        assert_eq!(*value.current(), (3, 4));
    }
}
