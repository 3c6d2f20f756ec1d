//! How much memory the process has and may have, as Linux reports it; 0 where it does not. Warns before the kernel kills the
//! process.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::aligned_interval;
use crate::health::Health;
use crate::warnings;

/// How often a limit is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Where the kernel keeps control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// What a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounded {
    Machine,
    /// A control group, as a container has one.
    Group,
}

/// How much is taken of what a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bounded: Bounded,
    /// Bytes that the kernel can't take back: without what it only caches of files.
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Usage {
    pub(crate) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Warns while little memory is left, in `/readyz`, the log and a metric: when it is gone, the kernel ends the process
/// without a word.
pub(crate) async fn watch(cache_max_bytes: Option<usize>, health: Arc<Health>, stop: CancellationToken) {
    let mut is_near = false;
    loop {
        let warning = tightest().and_then(|usage| {
            warnings::of_memory(usage, resident(), cache_max_bytes.map(|bytes| bytes as u64), is_near)
        });
        is_near = warning.is_some();
        health.warn("memory", warning.into_iter().collect());
        tokio::select! {
            () = aligned_interval::next(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Bytes of memory that the process has.
pub(crate) fn resident() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// Bytes that it may have: the machine's memory, or less where its control group or one above that says so.
pub(crate) fn limit() -> u64 {
    let machine = kilobytes("/proc/meminfo", "MemTotal:");
    machine.into_iter().chain(groups().iter().map(|usage| usage.limit)).min().unwrap_or(0)
}

/// The limit that leaves the least room.
fn tightest() -> Option<Usage> {
    let machine = || {
        let limit = kilobytes("/proc/meminfo", "MemTotal:")?;
        let used = limit.saturating_sub(kilobytes("/proc/meminfo", "MemAvailable:")?);
        Some(Usage { bounded: Bounded::Machine, used, limit })
    };
    groups().into_iter().chain(machine()).min_by_key(Usage::free)
}

fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn groups() -> Vec<Usage> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_in(&groups, Path::new(GROUPS))
}

/// The names of the files of one version of control groups.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: what is cached of files, of this group and those below.
    cached: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_active_file", "total_inactive_file"],
};
const VERSION_2: Files =
    Files { limit: "memory.max", used: "memory.current", cached: ["active_file", "inactive_file"] };

/// Of version 2 (`0::/…`) and of version 1 (`…:memory:/…`, below a folder of its controller). Within a container, the
/// group's own path may not be there, while the mounted root is the group.
fn groups_in(groups: &str, root: &Path) -> Vec<Usage> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, files) = if controllers.is_empty() {
            (root.to_path_buf(), VERSION_2)
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), VERSION_1)
        } else {
            continue;
        };
        let group = root.join(group.trim_start_matches('/'));
        let folders = group.ancestors().take_while(|folder| folder.starts_with(&root));
        limits.extend(folders.filter_map(|folder| files.read(folder)));
    }
    limits
}

impl Files {
    fn read(&self, folder: &Path) -> Option<Usage> {
        let number = |file| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        // "max" is not a number, and no limit; version 1 writes one that is larger than any machine.
        let limit = number(self.limit)?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cached: u64 = stat
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| self.cached.contains(name))
            .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
            .sum();
        let used = number(self.used).unwrap_or(0).saturating_sub(cached);
        Some(Usage { bounded: Bounded::Group, used, limit })
    }
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
        let least = |groups: &str| groups_in(groups, &root).into_iter().map(|usage| usage.limit).min();
        assert_eq!(least("11:cpu,cpuacct:/x\n5:memory:/pod/one\n0::/\n"), Some(1000));
        assert_eq!(least("0::/a/b\n"), Some(2000));
        assert_eq!(least("0::/\n"), None);
        // Within a container, the path is the host's.
        fs::write(root.join("memory/memory.limit_in_bytes"), "3000").unwrap();
        assert_eq!(least("5:memory:/kubepods/other\n"), Some(3000));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_is_cached_of_files_does_not_count_as_used() {
        let root = std::env::temp_dir().join(format!("orderd-usage-{}", std::process::id()));
        for (file, text) in [
            ("memory/memory.limit_in_bytes", "1000"),
            ("memory/memory.usage_in_bytes", "900"),
            (
                "memory/memory.stat",
                "cache 5\ninactive_file 1\ntotal_inactive_file 100\ntotal_active_file 50\n",
            ),
            ("memory.max", "2000"),
            ("memory.current", "1900"),
            ("memory.stat", "anon 700\ninactive_file 300\nactive_file 200\n"),
        ] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let usage = |used, limit| vec![Usage { bounded: Bounded::Group, used, limit }];
        assert_eq!(groups_in("4:memory:/\n", &root), usage(750, 1000));
        assert_eq!(groups_in("0::/\n", &root), usage(1400, 2000));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn memory_is_told_and_below_its_limit() {
        assert!(resident() > 1 << 20);
        assert!(resident() < limit());
    }
}
