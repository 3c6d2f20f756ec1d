//! Damages files of NATS's streams, as a failing disk or an interrupted write does.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fastrand::Rng;

/// The damage to one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Some bytes are changed.
    Flip {
        /// Chooses the file and the bytes.
        seed: u64,
    },
    /// The file is truncated.
    Cut {
        /// Chooses the file and the new length.
        seed: u64,
    },
}

/// Maximum number of changed bytes.
const MAX_FLIPPED: u64 = 8;

impl Damage {
    /// Damages a file below `store`, the directory of the server's streams. The server must not run.
    ///
    /// # Errors
    /// The files can't be read or written.
    pub fn strike(self, store: &Path) -> Result<()> {
        let (Self::Flip { seed } | Self::Cut { seed }) = self;
        let mut rng = Rng::with_seed(seed);
        let mut files = Vec::new();
        collect(store, &mut files).with_context(|| format!("cannot look into {}", store.display()))?;
        files.sort();
        let Some((path, size)) = choose(&files, &mut rng) else { return Ok(()) };
        self.strike_file(&path, size, &mut rng).with_context(|| format!("cannot damage {}", path.display()))
    }

    fn strike_file(self, path: &Path, size: u64, rng: &mut Rng) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match self {
            Self::Flip { .. } => {
                for _ in 0..rng.u64(1..=MAX_FLIPPED) {
                    let at = rng.u64(..size);
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at)?;
                    file.write_all_at(&[byte[0] ^ rng.u8(1..)], at)?;
                }
                Ok(())
            }
            Self::Cut { .. } => file.set_len(rng.u64(..size)),
        }
    }
}

/// Chooses mostly by size, so that messages are hit more often than metadata; sometimes uniformly.
fn choose(files: &[(PathBuf, u64)], rng: &mut Rng) -> Option<(PathBuf, u64)> {
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    if total == 0 || rng.u8(..4) == 0 {
        return rng.choice(files).cloned();
    }
    let mut at = rng.u64(..total);
    files.iter().find(|(_, size)| at.checked_sub(*size).map(|rest| at = rest).is_none()).cloned()
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else if metadata.len() > 0 {
            files.push((entry.path(), metadata.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_changes_one_file_the_same_one_for_the_same_seed() {
        let temp_dir = devstack::TempDir::new().unwrap();
        let store = temp_dir.path().join("store");
        let whole = vec![7_u8; 4000];
        for damage in [Damage::Flip { seed: 3 }, Damage::Cut { seed: 3 }] {
            let results = [(), ()].map(|()| {
                fs::create_dir_all(store.join("msgs")).unwrap();
                for name in ["msgs/1.blk", "msgs/2.blk", "meta.inf"] {
                    fs::write(store.join(name), &whole).unwrap();
                }
                damage.strike(&store).unwrap();
                ["msgs/1.blk", "msgs/2.blk", "meta.inf"].map(|name| fs::read(store.join(name)).unwrap())
            });
            assert_eq!(results[0], results[1]);
            assert_eq!(results[0].iter().filter(|now| **now != whole).count(), 1, "{damage:?}");
        }
    }
}
