//! Reads whole files, within bounds: a setting may name a device that never ends, or a pipe that nobody writes to.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Maximum size of a setting's file; `/dev/zero` is larger.
pub(super) const MAX_FILE_BYTES: u64 = 16 << 20;

/// Time limit for reading a pipe or a device.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);

/// The bytes of a file, at most one more than [`MAX_FILE_BYTES`]. Also reads a pipe, such as the shell's `<(…)`, if it
/// ends soon.
///
/// # Errors
/// Why it can't be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        return read_to_end(path);
    }
    let (result, read) = mpsc::channel();
    let file = path.to_owned();
    // Opening a pipe waits for a writer. Without one, the thread ends with the process.
    thread::spawn(move || drop(result.send(read_to_end(&file))));
    read.recv_timeout(PIPE_TIMEOUT).unwrap_or_else(|_| {
        let limit = PIPE_TIMEOUT.as_secs();
        let problem = format!(
            "it is not a regular file, and its end did not come within {limit} s: name a regular file"
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, problem))
    })
}

fn read_to_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn pipe_without_a_writer_is_refused_and_a_link_to_a_file_is_read() {
        let folder = devstack::TempDir::new().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let problem = read(&pipe).unwrap_err().to_string();
        assert!(problem.contains("not a regular file"), "{problem}");
        let link = folder.path().join("link");
        std::fs::write(folder.path().join("file"), "secret").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert_eq!(read(&link).unwrap(), b"secret");
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
        // Like the shell's `<(…)`.
        let (near, mut far) = io::pipe().unwrap();
        std::io::Write::write_all(&mut far, b"secret").unwrap();
        drop(far);
        let number = std::os::fd::AsRawFd::as_raw_fd(&near);
        assert_eq!(read(&Path::new("/dev/fd").join(number.to_string())).unwrap(), b"secret");
    }
}
