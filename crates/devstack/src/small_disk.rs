//! A disk that can be full: a small tmpfs. Only root may mount one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{Error, TempDir};

/// The file that takes all the room there is.
const BALLAST: &str = "ballast";

/// A separate disk, removed with its contents when this is dropped.
pub struct SmallDisk {
    dir: PathBuf,
    _temp_dir: TempDir,
}

impl SmallDisk {
    /// An empty disk of this size, in mebibytes.
    pub fn new(mebibytes: u32) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Missing {
                what: "the right to mount a small disk".to_owned(),
                advice: "run this test as root, `sudo -E cargo xtask test …`".to_owned(),
            });
        }
        let temp_dir = TempDir::new()?;
        let dir = temp_dir.path().join("disk");
        fs::create_dir(&dir).map_err(Error::path("make", &dir))?;
        let options = std::ffi::CString::new(format!("size={mebibytes}m,mode=0755")).unwrap_or_default();
        mount("tmpfs", &dir, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
            .map_err(|error| Error::path("mount a disk on", &dir)(error.into()))?;
        Ok(Self { dir, _temp_dir: temp_dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Leaves no room on it.
    pub fn fill(&self) -> Result<(), Error> {
        let file = self.dir.join(BALLAST);
        let mut ballast = File::create(&file).map_err(Error::path("make", &file))?;
        for size in [1 << 20, 4096, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    pub fn free(&self) -> Result<(), Error> {
        let file = self.dir.join(BALLAST);
        fs::remove_file(&file).map_err(Error::path("remove", &file))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        release(&self.dir);
    }
}

/// Unmounts what a killed test has left mounted below a folder.
pub(crate) fn release(dir: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(dir)) {
        // A process that was killed while it copied a disk has left it frozen.
        thaw(point);
        // Lazily: a process that still has a file open there is about to end.
        let _ = unmount(point, UnmountFlags::DETACH);
    }
}

/// Lets a frozen file system continue; of any other one it changes nothing.
pub(crate) fn thaw(point: &str) {
    let mut thaw = Command::new("fsfreeze");
    thaw.args(["--unfreeze", point]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = thaw.status();
}
