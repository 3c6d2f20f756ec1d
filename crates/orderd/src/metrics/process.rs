//! `process_*` and `orderd_build_info`, under the names that clients of Prometheus use.

use std::fs;

use prometheus::{Counter, Gauge, IntGauge, Registry};

use super::{gauges_of, register};

/// Metrics of this process, from `/proc`; values that the system does not report stay 0.
pub(crate) struct ProcessMetrics {
    cpu: Counter,
    threads: IntGauge,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    started: Gauge,
}

/// Fields of `/proc/self/stat`.
struct Stat {
    cpu_seconds: f64,
    threads: i64,
    /// Seconds from the machine's start to ours.
    started: f64,
    virtual_bytes: i64,
    resident_bytes: i64,
}

impl ProcessMetrics {
    pub(super) fn new(r: &Registry) -> prometheus::Result<Self> {
        let build =
            gauges_of(r, "orderd_build_info", "Which build runs; always 1", &["version", "revision"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), crate::version::revision()]).set(1);
        let gauge = |name: &str, help: &str| register(r, IntGauge::new(name, help));
        let cpu = Counter::new("process_cpu_seconds_total", "CPU time that the process has used, in seconds");
        let started =
            Gauge::new("process_start_time_seconds", "When the process began, in seconds of Unix time");
        Ok(Self {
            cpu: register(r, cpu)?,
            threads: gauge("process_threads", "Threads of the process")?,
            resident: gauge("process_resident_memory_bytes", "Bytes of memory that the process has")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Bytes of addresses that the process has")?,
            open_files: gauge("process_open_fds", "Files that the process has open")?,
            max_files: gauge("process_max_fds", "Files that the process may have open")?,
            started: register(r, started)?,
        })
    }

    /// Updates the gauges.
    pub(crate) fn update(&self) {
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse) {
            self.cpu.inc_by((stat.cpu_seconds - self.cpu.get()).max(0.0));
            self.threads.set(stat.threads);
            self.virtual_memory.set(stat.virtual_bytes);
            self.resident.set(stat.resident_bytes);
            if let Some(boot) = boot_time() {
                self.started.set(boot + stat.started);
            }
        }
        // Less the folder that is just being read.
        let open = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1));
        self.open_files.set(open as i64);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_files.set(limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX));
    }
}

/// The name may have spaces and brackets; the fields begin after its last one.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Numbered as in proc(5), where the state is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
        threads: field(20)?,
        started: field(22)? as f64 / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(rustix::param::page_size() as i64),
    })
}

/// When the machine started, in seconds of Unix time.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        let fields: Vec<String> = (4..=24).map(|number| number.to_string()).collect();
        let stat = parse(&format!("1 (a) b) c) S {} 0 0", fields.join(" "))).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((stat.cpu_seconds, stat.threads, stat.virtual_bytes), (29.0 / ticks, 20, 23));
        assert_eq!(stat.resident_bytes, 24 * rustix::param::page_size() as i64);
        assert!(parse("1 (a) S 4").is_none());
    }
}
