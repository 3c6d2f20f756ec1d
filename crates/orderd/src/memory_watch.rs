//! The memory of the process and its limit, as Linux reports them; 0 if unknown. Warns before the kernel kills the
//! process.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::aligned_interval;
use crate::finding::Finding;
use crate::health::Health;
use crate::health::readyz_warning::{Warning, WarningKind};

/// Interval of checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The mount point of control groups.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The scope of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounded {
    Machine,
    /// A control group, as a container has one.
    Group,
}

/// The used fraction of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bounded: Bounded,
    /// Bytes that the kernel can't reclaim, without its cache of files.
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

impl Usage {
    pub(crate) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Warns while little memory is left, in `/readyz`, the log and a metric: when it runs out, the kernel kills the
/// process without notice.
pub(crate) async fn watch(cache_max_bytes: Option<usize>, health: Arc<Health>, stop: CancellationToken) {
    let mut is_near = false;
    loop {
        let warning = tightest().and_then(|usage| {
            of_memory(usage, resident(), cache_max_bytes.map(|bytes| bytes as u64), is_near)
        });
        is_near = warning.is_some();
        health.warn("memory", warning.into_iter().collect());
        tokio::select! {
            () = aligned_interval::next(CHECK_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Bytes of memory that the process has.
pub(crate) fn resident() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:").unwrap_or(0)
}

/// The limit in bytes: the machine's memory, or less if its control group or one above has a limit.
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
    groups_in(&groups, Path::new(CGROUP_ROOT))
}

/// The names of the files of one version of control groups.
struct GroupFiles {
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: the cache of files, of this group and those below.
    cached: [&'static str; 2],
}

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_active_file", "total_inactive_file"],
};
const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", used: "memory.current", cached: ["active_file", "inactive_file"] };

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

impl GroupFiles {
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

/// Memory of the process besides its orders.
const RESERVED_BYTES: u64 = 200 << 20;

/// Little of the memory is left that the process may have, and much of it is the process's own. `was_near`: so it was
/// when looked at last; the warning then stays until there is clearly more.
fn of_memory(usage: Usage, resident: u64, cache_max_bytes: Option<u64>, was_near: bool) -> Option<Warning> {
    let Usage { bounded, used, limit } = usage;
    let least = if was_near { limit / 5 } else { limit / 10 };
    // If other processes use the memory, a limit on ours would not help.
    if limit == 0 || usage.free() >= least || resident < limit / 4 {
        return None;
    }
    let (whose, more) = match bounded {
        Bounded::Machine => ("the machine has", "the machine"),
        Bounded::Group => ("its control group may use", "the container or service"),
    };
    let mebibytes = |bytes: u64| bytes >> 20;
    let others = used.saturating_sub(resident);
    let room = limit.saturating_sub(others);
    // A small container leaves half of it to orders.
    let advised = mebibytes(room.saturating_sub(RESERVED_BYTES).max(room / 2)).max(1);
    let fix = match cache_max_bytes {
        Some(set) if mebibytes(set) <= advised => format!(
            "give {more} more memory, or set CACHE_MAX_BYTES below {} MiB: keys and index always stay in memory",
            mebibytes(set)
        ),
        _ => format!(
            "set CACHE_MAX_BYTES={advised}MiB, so that what is above it is read from the table, or give {more} more memory"
        ),
    };
    let problem = format!(
        "memory is nearly full: {} MiB of the {} MiB that {whose}, {} MiB of them this process; when it is full, the kernel \
         ends the process",
        mebibytes(used),
        mebibytes(limit),
        mebibytes(resident)
    );
    Some(Warning::new(WarningKind::MemoryNearlyFull, "memory", Finding::warning(problem, fix)))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn memory_is_nearly_full_from_nine_tenths_on_and_until_four_fifths() {
        const GIB: u64 = 1 << 30;
        let usage = |percent: u64| Usage { bounded: Bounded::Group, used: GIB / 100 * percent, limit: GIB };
        let warned = |percent, resident, set, was_near| of_memory(usage(percent), resident, set, was_near);
        assert_eq!(warned(89, GIB / 2, None, false), None);
        assert_eq!(warned(79, GIB / 2, None, true), None);
        assert_eq!(warned(95, GIB / 5, None, false), None, "others have it");
        let text = warned(91, GIB / 100 * 91, None, false).unwrap().finding.to_string();
        assert!(text.contains("CACHE_MAX_BYTES=824MiB") && text.contains("1024 MiB"), "{text}");
        assert!(warned(85, GIB / 2, None, true).is_some());
        let text = warned(91, GIB / 100 * 91, Some(800 << 20), false).unwrap().finding.to_string();
        assert!(text.contains("more memory") && text.contains("below 800 MiB"), "{text}");
        let small = Usage { bounded: Bounded::Machine, used: 60 << 20, limit: 64 << 20 };
        let text = of_memory(small, 50 << 20, None, false).unwrap().finding.to_string();
        assert!(text.contains("CACHE_MAX_BYTES=27MiB") && text.contains("the machine has"), "{text}");
    }

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
