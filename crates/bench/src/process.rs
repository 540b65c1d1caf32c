//! What this process and this machine cost and are, as far as the operating system tells.

use std::fs;

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
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processor time of all threads of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of the line.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // The kernel's unit towards programs is 1/100 s on every architecture that Rust supports.
    Some((user + system) as f64 / 100.0)
}
