//! Figures of a process, from `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The resident set, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    bytes(pid, "VmRSS:")
}

/// The peak of the resident set, in bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    bytes(pid, "VmHWM:")
}

fn bytes(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0) * 1024
}

/// CPU time of its current threads.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| cpu_of_task(&task.path())).sum()
}

fn cpu_of_task(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0))
}

/// CPU time of the process and its children.
pub(crate) fn cpu_of_process_tree(pid: u32) -> Duration {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    cpu(pid) + ids.filter(|id| parent(*id) == Some(pid)).map(cpu).sum::<Duration>()
}

/// CPU time of a process and its ended children, which the kernel counts in hundredths of a second.
pub(crate) fn cpu_with_children(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ended = after_name.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    cpu_of_process_tree(pid) + Duration::from_millis(ended.sum::<u64>() * 10)
}

/// State and parent follow the name, which may contain anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_this_process() {
        let pid = std::process::id();
        assert!(super::resident(pid) > 100_000);
        assert!(!super::cpu(pid).is_zero());
        assert!(super::cpu_of_process_tree(super::parent(pid).unwrap()) >= super::cpu(pid));
    }
}
