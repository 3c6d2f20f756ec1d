//! A disk whose power can fail: a file system in an image file. Only root may mount one.
//!
//! ```text
//! tmpfs ── outer image ── loop device ── ext4 ── inner image ── loop device ── ext4 ── a server's files
//! ```
//!
//! Data that the servers have written and not synced are in the kernel's page cache; the inner image has what a disk
//! would have. For a consistent copy, the outer file system is frozen, so that writes to the inner image wait. The
//! inner file system is not frozen, because that would sync everything first.
//!
//! The images are in memory, so that a sync is as fast as on a good disk, whatever else the machine does. Everything
//! sent to the disk counts as stored: disks that lose their cache are not simulated.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{UnmountFlags, unmount};

use crate::{Error, TempDir, small_disk};

/// Space for the outer file system's metadata.
const OVERHEAD_MIB: u64 = 32;

/// A disk with a file system, removed on drop.
pub struct PowerFailDisk {
    images: PathBuf,
    outer: PathBuf,
    mounted: PathBuf,
    inner: PathBuf,
    captured: PathBuf,
    _temp_dir: TempDir,
}

impl PowerFailDisk {
    /// An empty disk of `mebibytes`. The image is sparse: it takes only the space that is used.
    pub fn new(mebibytes: u64) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Missing {
                what: "the right to mount a disk whose power can fail".to_owned(),
                advice: "run this as root, `sudo -E cargo xtask …`".to_owned(),
            });
        }
        let temp_dir = TempDir::new()?;
        let file = |name: &str| temp_dir.path().join(name);
        let (images, outer, mounted) = (file("images"), file("outer"), file("disk"));
        for dir in [&images, &outer, &mounted] {
            fs::create_dir(dir).map_err(Error::path("make", dir))?;
        }
        let image = images.join("outer.img");
        let disk = Self {
            inner: outer.join("disk.img"),
            captured: images.join("captured.img"),
            images,
            outer,
            mounted,
            _temp_dir: temp_dir,
        };
        run("mount memory", Command::new("mount").args(["-t", "tmpfs", "images"]).arg(&disk.images))?;
        make(&image, mebibytes + mebibytes / 8 + OVERHEAD_MIB)?;
        mount(&image, &disk.outer)?;
        make(&disk.inner, mebibytes)?;
        mount(&disk.inner, &disk.mounted)?;
        Ok(disk)
    }

    /// Its mount point.
    pub fn path(&self) -> &Path {
        &self.mounted
    }

    /// Syncs everything written so far, as the kernel does periodically.
    pub fn write_out(&self) -> Result<(), Error> {
        let dir = File::open(&self.mounted).map_err(Error::path("open", &self.mounted))?;
        rustix::fs::syncfs(dir).map_err(|error| Error::path("write out", &self.mounted)(error.into()))
    }

    /// Captures the disk's content at this moment. Processes that use the disk can continue.
    pub fn capture(&self) -> Result<(), Error> {
        let outer = self.outer.as_os_str();
        run("freeze a disk", Command::new("fsfreeze").arg("--freeze").arg(outer))?;
        let copied =
            run("copy a disk", Command::new("cp").arg("--sparse=always").args([&self.inner, &self.captured]));
        run("resume a disk", Command::new("fsfreeze").arg("--unfreeze").arg(outer))?;
        copied
    }

    /// Restores the captured content. Processes with open files on the disk must have ended.
    pub fn restore(&self) -> Result<(), Error> {
        unmount(&self.mounted, UnmountFlags::empty())
            .map_err(|error| Error::path("unmount", &self.mounted)(error.into()))?;
        fs::remove_file(&self.inner).map_err(Error::path("remove", &self.inner))?;
        let copy = Command::new("cp").arg("--sparse=always").args([&self.captured, &self.inner]).output();
        Error::check("bring a disk back", copy.map_err(Error::io("bring a disk back"))?)?;
        mount(&self.inner, &self.mounted)
    }
}

impl Drop for PowerFailDisk {
    fn drop(&mut self) {
        small_disk::release(&self.mounted);
        small_disk::release(&self.outer);
        small_disk::release(&self.images);
    }
}

fn make(image: &Path, mebibytes: u64) -> Result<(), Error> {
    let file = File::create(image).map_err(Error::path("make", image))?;
    file.set_len(mebibytes << 20).map_err(Error::path("make", image))?;
    run("make a file system", Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))
}

fn mount(image: &Path, dir: &Path) -> Result<(), Error> {
    // Unmounting removes the loop device.
    run("mount an image", Command::new("mount").args(["-o", "loop"]).args([image, dir]))
}

fn run(action: &str, command: &mut Command) -> Result<(), Error> {
    let output = command.stdin(Stdio::null()).output().map_err(Error::io(action))?;
    Error::check(action, output).map(drop)
}
