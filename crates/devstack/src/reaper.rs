//! Ends servers when the process that started them dies, even by SIGKILL.
//!
//! A reaper is a small shell that reads from a pipe whose other end we hold. When we die in any way, the kernel closes
//! that end; the shell reads the end of the file and ends the server. `PR_SET_PDEATHSIG` does not suffice: it fires
//! when the *thread* that started the server ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::Error;
use crate::process_tree::ProcessIdentity;

/// Arguments: pid, its start time (pids are reused), signal, tenths of a second until SIGKILL. A stopped process
/// handles a signal only after it is continued.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r word && exit 0
alive() { [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20)" = "$2" ]; }
alive "$1" "$2" || exit 0
for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do kill -CONT "$child"; done
kill "-$3" "$1"
kill -CONT "$1"
tenths=0
while alive "$1" "$2" && [ "$tenths" -lt "$4" ]; do sleep 0.1; tenths=$((tenths + 1)); done
alive "$1" "$2" && kill -KILL "$1"
"#;

/// The shell that ends one server if we die.
pub(crate) struct Reaper {
    shell: Child,
}

impl Reaper {
    /// Watches a process: when ours dies, it gets the signal, and SIGKILL after `grace`.
    pub(crate) fn over(process: ProcessIdentity, signal: Signal, grace: Duration) -> Result<Self, Error> {
        let arguments = [
            process.pid.to_string(),
            process.start_time.to_string(),
            signal.as_raw().to_string(),
            (grace.as_millis() / 100).to_string(),
        ];
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the foreground process group, which must not include the reaper.
            .process_group(0)
            .spawn()
            .map_err(Error::io("start the reaper of a server"))?;
        Ok(Self { shell })
    }

    /// Ends the reaper while the server's pid still belongs to the server.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.dismiss();
    }
}
