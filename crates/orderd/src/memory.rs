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
    group_limits_in(&groups, Path::new("/sys/fs/cgroup"))
}

/// Of version 2 (`0::/…`, `memory.max`) and of version 1 (`…:memory:/…`, below a folder of its controller). Within a
/// container, the group's own path may not be there, while the mounted root is the group.
fn group_limits_in(groups: &str, root: &Path) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = root.join(group.trim_start_matches('/'));
        let folders = group.ancestors().take_while(|folder| folder.starts_with(&root));
        // "max" is not a number, and no limit; version 1 writes one that is larger than any machine.
        limits.extend(
            folders
                .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()),
        );
    }
    limits
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn limits_of_control_groups_of_both_versions_are_seen() {
        let root = std::env::temp_dir().join(format!("orderd-groups-{}", std::process::id()));
        for (folder, file, limit) in [
            ("memory/pod/one", "memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/pod", "memory.limit_in_bytes", "1000\n"),
            ("memory", "memory.limit_in_bytes", "9223372036854771712\n"),
            ("a/b", "memory.max", "max\n"),
            ("a", "memory.max", "2000\n"),
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join(file), limit).unwrap();
        }
        let least = |groups: &str| group_limits_in(groups, &root).into_iter().min();
        assert_eq!(least("11:cpu,cpuacct:/x\n5:memory:/pod/one\n0::/\n"), Some(1000));
        assert_eq!(least("0::/a/b\n"), Some(2000));
        assert_eq!(least("0::/\n"), None);
        // Within a container, the path is the host's.
        fs::write(root.join("memory/memory.limit_in_bytes"), "3000").unwrap();
        assert_eq!(least("5:memory:/kubepods/other\n"), Some(3000));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn memory_is_told_and_below_its_limit() {
        assert!(resident() > 1 << 20);
        assert!(resident() < limit());
    }
}
