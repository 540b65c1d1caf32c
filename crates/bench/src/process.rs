//! What this process and this machine cost and are, as far as the operating system tells.

use std::fs;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The machine of a run, so that reports of different machines are not compared unawares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and architecture.
    pub os: String,
    /// The processor's name, where it can be read.
    pub cpu: Option<String>,
    /// Processors that this process may use.
    pub cpus: usize,
    /// The load average of the last minute before the run.
    pub load: Option<f64>,
}

impl Machine {
    /// This machine, now.
    #[must_use]
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let loadavg = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            os: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: model.map(|(_, name)| name.trim().to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
            load: loadavg.split_whitespace().next().and_then(|load| load.parse().ok()),
        }
    }
}

/// The most memory this process has held so far, in bytes.
pub(crate) fn peak_rss() -> Option<u64> {
    status("VmHWM:")
}

/// The memory that this process holds now, in bytes, where the operating system tells.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processor time of all threads of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
