//! What was measured, as JSON and as a table in Markdown.

use std::fmt::{self, Write as _};

use bench::Machine;
use serde::Serialize;

use crate::{Effort, Role, versions::versions};

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where; its load is that before the run.
    pub machine: Machine,
    /// The load average of the last minute after the run: of the run itself, and of neighbours.
    pub load_after: Option<f64>,
    /// Names and versions of the peers.
    pub peers: Vec<(String, String)>,
    /// How often each subject had its turn.
    pub rounds: usize,
    /// How long a turn was, in milliseconds.
    pub slot_ms: u128,
    /// What was compared.
    pub cases: Vec<CaseReport>,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub struct CaseReport {
    /// The circumstances.
    pub name: String,
    /// See [`Case::bar`](crate::Case::bar).
    pub bar: Option<f64>,
    /// Ours first.
    pub subjects: Vec<SubjectReport>,
}

/// One subject of a comparison.
#[derive(Debug, Serialize)]
pub struct SubjectReport {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Nanoseconds of an operation, by round.
    pub nanos: Vec<f64>,
}

/// Lowest, median and highest.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Report {
    /// Begins the report of a run.
    #[must_use]
    pub fn begin(peers: &[&str], effort: Effort) -> Self {
        let (rounds, slot_ms) = (effort.rounds, effort.slot.as_millis());
        let peers = versions(peers);
        Self { machine: Machine::this(), load_after: None, peers, rounds, slot_ms, cases: Vec::new() }
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.load_after = Machine::this().load;
    }

    /// Whether every bar was met.
    #[must_use]
    pub fn met(&self) -> bool {
        self.verdicts().all(|met| met)
    }

    fn verdicts(&self) -> impl Iterator<Item = bool> {
        self.cases.iter().flat_map(|case| case.of(Role::Ours).filter_map(|ours| case.met(ours)))
    }
}

impl CaseReport {
    fn of(&self, role: Role) -> impl Iterator<Item = &SubjectReport> {
        self.subjects.iter().filter(move |subject| subject.role == role)
    }

    fn rival(&self) -> Option<&SubjectReport> {
        self.of(Role::Rival).min_by(|a, b| a.spread().median.total_cmp(&b.spread().median))
    }

    /// Whether `ours` keeps the bar, if there is one.
    fn met(&self, ours: &SubjectReport) -> Option<bool> {
        Some(ours.ratio(self.rival()?).median <= self.bar?)
    }
}

impl SubjectReport {
    fn spread(&self) -> Spread {
        spread(self.nanos.iter().copied())
    }

    /// Round by round, since a round's noise is common to both.
    fn ratio(&self, to: &Self) -> Spread {
        spread(self.nanos.iter().zip(&to.nanos).map(|(ours, peer)| ours / peer))
    }
}

/// Without the turns that gave no figure; none at all when most gave none.
fn spread(values: impl ExactSizeIterator<Item = f64>) -> Spread {
    let turns = values.len();
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if values.len() * 2 < turns {
        values = vec![f64::NAN];
    }
    values.sort_unstable_by(f64::total_cmp);
    Spread { low: values[0], median: values[values.len() / 2], high: values[values.len() - 1] }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = |load: Option<f64>| load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
        let Machine { os, cpu, cpus, load: before } = &self.machine;
        let (before, after) = (load(*before), load(self.load_after));
        let cpu = cpu.as_deref().unwrap_or("unknown processor");
        writeln!(f, "{cpus} x {cpu}, {os}; load average {before} before, {after} after")?;
        let peers: Vec<_> = self.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "{}", peers.join(", "))?;
        let (rounds, slot) = (self.rounds, self.slot_ms);
        writeln!(
            f,
            "ns an operation and thread; medians of {rounds} interleaved rounds of {slot} ms (lowest to highest)"
        )?;
        writeln!(f, "\n| case | ours | ns | best rival | ns | ratio | bar | | others: ns (ratio) |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for case in &self.cases {
            for ours in case.of(Role::Ours) {
                writeln!(f, "{}", row(case, ours)?)?;
            }
        }
        let (met, bars) = (self.verdicts().filter(|met| *met).count(), self.verdicts().count());
        writeln!(f, "\n{met} of {bars} bars met")
    }
}

fn row(case: &CaseReport, ours: &SubjectReport) -> Result<String, fmt::Error> {
    let mut row = format!("| {} | {} | {} |", case.name, ours.name, ours.spread());
    match case.rival() {
        Some(rival) => {
            let ratio = ours.ratio(rival);
            let Spread { low, median, high } = ratio;
            write!(row, " {} | {} |", rival.name, rival.spread())?;
            write!(row, " {median:.2} ({low:.2} to {high:.2}) |")?;
        }
        None => row.push_str(" | | |"),
    }
    match (case.bar, case.met(ours)) {
        (Some(bar), Some(met)) => write!(row, " <= {bar} | {} |", if met { "met" } else { "MISSED" })?,
        _ => row.push_str(" | |"),
    }
    let best = case.rival().map(|rival| rival.name.as_str());
    let others = case.subjects.iter().filter(|other| match other.role {
        Role::Ours => false,
        Role::Rival => Some(other.name.as_str()) != best,
        Role::Other => true,
    });
    let others = others.map(|other| {
        format!("{} {} ({:.2})", other.name, short(other.spread().median), ours.ratio(other).median)
    });
    write!(row, " {} |", others.collect::<Vec<_>>().join(", "))?;
    Ok(row)
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} to {})", short(self.median), short(self.low), short(self.high))
    }
}

fn short(nanos: f64) -> String {
    if nanos < 100.0 { format!("{nanos:.1}") } else { format!("{nanos:.0}") }
}
