//! What was measured as tables, and whether the bars were met.

use std::fmt::{self, Write as _};

use filters::Kind;

use crate::{
    measure::{Op, Row},
    subjects::Who,
};

/// The most that ours may take, as multiples of fastbloom's time.
const QUERY: f64 = 0.9;
const BATCHED: f64 = 0.5;
const BUILD: f64 = 1.0;
/// The same of ribbon; and its bits a key, and its rate.
const RIBBON_BUILD: f64 = 4.0;
const RIBBON_QUERY: f64 = 1.5;
const RIBBON_BITS: f64 = 7.5;
const RIBBON_RATE: f64 = 0.008;

/// Something that ours had to keep.
#[derive(Debug)]
pub(crate) struct Bar {
    name: String,
    value: String,
    met: bool,
}

impl Bar {
    fn at_most(name: &str, value: f64, bar: f64) -> Self {
        Self { name: format!("{name} <= {bar}"), value: format!("{value:.3}"), met: value <= bar }
    }

    pub(crate) const fn met(&self) -> bool {
        self.met
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "met" } else { "MISSED" };
        write!(f, "| {} | {} | {met} |", self.name, self.value)
    }
}

/// All times and rates of one size.
pub(crate) fn table(title: &str, rows: &[Row]) -> String {
    let mut out = format!("\n{title}; in parentheses multiples of fastbloom's time\n\n");
    let ops: Vec<&str> = Op::ALL.iter().map(|op| op.name()).collect();
    _ = writeln!(out, "| kind | bits a key | rate (95 %), % | theory, % | {} |", ops.join(", ns | "));
    _ = writeln!(out, "|{}", "---|".repeat(4 + ops.len()));
    for row in rows {
        let (low, high) = row.rate.interval();
        let percent = |rate: f64| format!("{:.4}", rate * 100.0);
        let theory = row.theory.map_or_else(String::new, percent);
        let (rate, low, high) = (percent(row.rate.rate()), percent(low), percent(high));
        _ = write!(out, "| {} | {:.2} | {rate} ({low} to {high}) | {theory} |", row.who.name(), row.bits);
        for op in Op::ALL {
            match (median(row.nanos[op as usize].clone()), ratio(rows, row.who, op)) {
                (Some(nanos), Some(ratio)) => _ = write!(out, " {nanos:.1} ({ratio:.2}) |"),
                _ => out.push_str(" |"),
            }
        }
        out.push('\n');
    }
    out
}

/// The bars of times in one size; that of building only where `is_large`.
pub(crate) fn time_bars(title: &str, rows: &[Row], is_large: bool) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut hold = |kind: Kind, op: Op, bar: f64| {
        if let Some(ratio) = ratio(rows, Who::Ours(kind), op) {
            bars.push(Bar::at_most(&format!("{title}: {kind}, {}", op.name()), ratio, bar));
        }
    };
    for op in Op::ALL {
        match op {
            Op::Build if is_large => hold(Kind::Bloom, op, BUILD),
            Op::Build => {}
            Op::BatchedHit | Op::BatchedMiss => hold(Kind::Bloom, op, BATCHED),
            _ => hold(Kind::Bloom, op, QUERY),
        }
    }
    if is_large {
        hold(Kind::Ribbon, Op::Build, RIBBON_BUILD);
        hold(Kind::Ribbon, Op::Hit, RIBBON_QUERY);
        hold(Kind::Ribbon, Op::Miss, RIBBON_QUERY);
        if let Some(row) = rows.iter().find(|row| row.who == Who::Ours(Kind::Ribbon)) {
            bars.push(Bar::at_most(&format!("{title}: ribbon, bits a key"), row.bits, RIBBON_BITS));
            let value = format!("{:.4} %", row.rate.rate() * 100.0);
            let name = format!("{title}: ribbon, rate <= {} %", RIBBON_RATE * 100.0);
            bars.push(Bar { name, value, met: row.rate.rate() <= RIBBON_RATE });
        }
    }
    bars
}

/// Whether the rate of a classical filter is the one of theory.
pub(crate) fn rate_bar(row: &Row) -> Bar {
    let (low, high) = row.rate.interval();
    let theory = row.theory.unwrap_or(f64::NAN);
    Bar {
        name: format!("rate of {} at {:.0} bits, {} positions", row.who.name(), row.bits, row.positions),
        value: format!("{:.4} to {:.4} %, theory {:.4} %", low * 100.0, high * 100.0, theory * 100.0),
        met: (low..=high).contains(&theory),
    }
}

/// How many times fastbloom's time it takes: the median of all rounds.
fn ratio(rows: &[Row], who: Who, op: Op) -> Option<f64> {
    let ours = rows.iter().find(|row| row.who == who)?;
    let peer = rows.iter().find(|row| row.who == Who::Fastbloom)?;
    let (ours, peer) = (&ours.nanos[op as usize], &peer.nanos[op.at_peer() as usize]);
    median(ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
