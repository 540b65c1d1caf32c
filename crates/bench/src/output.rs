use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{BoxError, Report, Run, hgrm::write_hgrm, html};

/// Where a report goes: flags that every binary has.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Report")]
pub struct Output {
    /// Write the report as JSON (its schema is crates/bench/report.schema.json)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the latencies as HdrHistogram's percentile text, in microseconds
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
}

impl Output {
    /// Whether a file was asked for.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        self.json.is_some() || self.report.is_some() || self.hgrm.is_some()
    }

    /// Says when two reports would go to one file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let paths: Vec<&PathBuf> = [&self.json, &self.report, &self.hgrm].into_iter().flatten().collect();
        match paths.iter().enumerate().find(|(place, path)| paths[..*place].contains(path)) {
            Some((_, path)) => Err(format!("two reports cannot both go to {}", path.display())),
            None => Ok(()),
        }
    }

    /// Prints the report, and writes it wherever it was asked for.
    ///
    /// A reader that closes its end early (`| head`) is not an error.
    ///
    /// # Errors
    ///
    /// When a file cannot be written; the error names it.
    pub fn write(&self, report: &Report, run: &Run) -> Result<(), BoxError> {
        // First of all: a file that cannot be written does not lose the run.
        print(&format!("{report}\n"))?;
        if let Some(path) = &self.json {
            write_file(path, |out| Ok(serde_json::to_writer_pretty(out, report)?))?;
        }
        if let Some(path) = &self.report {
            write_file(path, |out| out.write_all(html::render(report).as_bytes()))?;
        }
        if let Some(path) = &self.hgrm {
            let latency = run.records.response().unwrap_or_else(|| run.records.service());
            write_file(path, |out| write_hgrm(out, &latency, NANOS_PER_MICRO))?;
        }
        Ok(())
    }
}

const NANOS_PER_MICRO: f64 = 1_000.0;

/// Prints to standard output; a closed pipe is a clean end.
///
/// # Errors
///
/// When standard output cannot be written for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Says what is wrong on standard error, in one line; a closed standard error is not another error.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), BoxError> {
    let attempt = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut out = BufWriter::new(File::create(path)?);
        write(&mut out)?;
        out.flush()
    };
    attempt().map_err(|error: io::Error| format!("{}: {error}", path.display()).into())
}
