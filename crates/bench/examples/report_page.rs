//! Renders a stored report again: `cargo run --example report_page -- report.json > report.html`.

use std::{error::Error, fs, process::ExitCode};

use bench::{Report, SCHEMA_VERSION, complain, html, print};

fn main() -> ExitCode {
    match page() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("report_page: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn page() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name a report in JSON, as --json wrote it")?;
    let text = fs::read_to_string(path)?;
    let report: Report = serde_json::from_str(&text)?;
    if report.schema != SCHEMA_VERSION {
        return Err(
            format!("the report has schema {}, and this reads {SCHEMA_VERSION}", report.schema).into()
        );
    }
    print(&html::render(&report))?;
    Ok(())
}
