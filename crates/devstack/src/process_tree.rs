//! Processes in `/proc`: children, and whether a pid still belongs to the same process. PostgreSQL's backends leave the
//! postmaster's process group, so signals to a group miss them.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A pid and its start time, because pids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
}

impl ProcessIdentity {
    /// The current process with this pid, if any.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let (_, start_time, _) = stat(pid)?;
        Some(Self { pid, start_time })
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|(_, start_time, state)| start_time == self.start_time && state != 'Z')
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive() {
            send(self.pid, signal);
        }
    }
}

/// Sends a signal to a pid; a missing process is not an error.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The children of a process at this moment.
pub(crate) fn children(parent: u32) -> Vec<ProcessIdentity> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let (found, start_time, _) = stat(pid)?;
        (found == parent).then_some(ProcessIdentity { pid, start_time })
    })
    .collect()
}

/// Parent, start time and state of a process. The name in `stat` may contain spaces and parentheses, so fields are
/// counted from the last closing one.
fn stat(pid: u32) -> Option<(u32, u64, char)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start_time = fields.nth(17)?.parse().ok()?;
    Some((parent, start_time, state))
}
