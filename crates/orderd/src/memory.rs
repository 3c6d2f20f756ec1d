//! How much memory the process has and may have, as Linux tells; 0 where nobody tells.

use std::fs;
use std::path::Path;

/// Bytes of memory that the process has.
pub(crate) fn resident() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// Bytes that it may have: the machine's memory, or less where its control group or one above that says so.
pub(crate) fn limit() -> u64 {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    machine.into_iter().chain(group_limits()).min().unwrap_or(0)
}

fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn group_limits() -> Vec<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(group) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let group = Path::new("/sys/fs/cgroup").join(group);
    let files = group.ancestors().take_while(|dir| dir.starts_with("/sys/fs/cgroup"));
    // "max" is no number and no limit.
    files.filter_map(|dir| fs::read_to_string(dir.join("memory.max")).ok()?.trim().parse().ok()).collect()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_and_below_its_limit() {
        assert!(resident() > 1 << 20);
        assert!(resident() < limit());
    }
}
