//! Commands that read reports, and the one that measures the runner.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use bench::{
    Amount, Config, ExitStatus, Pacing, Progress, Report, SCHEMA_VERSION, Usage, calibrate as calibration,
    compare::Comparison, format::nanos, html, significance::Criterion,
};
use clock::PreciseClock;

pub(crate) fn compare(paths: &[PathBuf], noise: f64, alpha: f64) -> anyhow::Result<ExitStatus> {
    if !paths.len().is_multiple_of(2) {
        bail!(Usage("an odd number of reports; give pairs: A B, or A B A B ...".to_owned()));
    }
    if !(noise >= 0.0 && noise.is_finite() && alpha > 0.0 && alpha < 1.0) {
        bail!(Usage("--noise must not be negative, and --alpha lie between 0 and 1".to_owned()));
    }
    let reports = paths.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<Report>>>()?;
    let side = |odd: usize| -> Vec<Report> { reports.iter().skip(odd).step_by(2).cloned().collect() };
    let (a, b) = (side(0), side(1));
    let comparison = Comparison::new(&a, &b, Criterion { alpha, noise });
    bench::print(&comparison.show(&a, &b).to_string())?;
    Ok(comparison.status())
}

pub(crate) fn render(json: &Path, page: &Path) -> anyhow::Result<ExitStatus> {
    let report = read(json)?;
    fs::write(page, html::render(&report)).with_context(|| page.display().to_string())?;
    Ok(ExitStatus::Ok)
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(name)?;
    let value: serde_json::Value = serde_json::from_str(&text).with_context(name)?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(SCHEMA_VERSION) => {}
        Some(version) => {
            bail!("{}: written by another version: schema {version}, not {SCHEMA_VERSION}", name())
        }
        None => bail!("{}: not a report", name()),
    }
    serde_json::from_value(value).with_context(|| format!("{}: not a report", name()))
}

pub(crate) fn calibrate() -> anyhow::Result<ExitStatus> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!("{:<32}{:>14}{:>14}\n", "", "no operation", "clock reading");
    for (name, concurrency, sample_every) in [
        ("one worker, all timed", 1, 1),
        ("a worker a processor, all timed", cpus, 1),
        ("one worker, every 64th timed", 1, 64),
    ] {
        let config = Config {
            pacing: Pacing::Closed,
            amount: Amount::Requests(0),
            warmup: None,
            concurrency,
            seed: 1,
            sample_every,
            digest: false,
            progress: Progress::Quiet,
            clock: PreciseClock::new(),
        };
        let harness = calibration::calibrate(&config).map_err(anyhow::Error::from_boxed)?;
        text += &format!("{name:<32}{:>14}{:>14}\n", nanos(harness.noop_ns), nanos(harness.clock_ns));
    }
    bench::print(&text)?;
    Ok(ExitStatus::Ok)
}
