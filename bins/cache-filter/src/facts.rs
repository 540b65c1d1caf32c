//! What the report says of the filter and the cache.

use bench::{
    ClassReport, Fact, Latency, Report,
    format::{bytes, grouped, nanos},
};
use bytes::Bytes;
use cache::{Stats, Store};
use filters::{
    Kind, State,
    rate::{self, Observed},
};

use crate::{
    backend::FilterName,
    filter::Begun,
    tally::Total,
    workload::{IN_VAIN_CLASS, Shared},
};

/// What is known of the filter.
pub(crate) struct Known {
    pub(crate) begun: Option<Begun>,
    /// As it was at the end.
    pub(crate) state: Option<State>,
    pub(crate) name: FilterName,
    pub(crate) positions: u32,
}

impl Known {
    /// The false-positive rate by theory for `rows` keys, where it depends on their number: the filter itself counts a little
    /// less, since some keys seemed to be there before.
    fn theory(&self, state: &State, rows: Option<u64>) -> f64 {
        rows.and_then(|rows| theory(self.name, state.size_bytes, rows, self.positions))
            .unwrap_or(state.expected_rate)
    }
}

/// The rate of a table of so many bytes, of the kinds that are filled key by key.
pub(crate) fn theory(name: FilterName, bytes: u64, keys: u64, positions: u32) -> Option<f64> {
    const BLOCK: u64 = 64;
    match name {
        FilterName::Local(Kind::Bloom) => Some(rate::bloom(bytes * 8, keys, positions)),
        // Counters of four bits.
        FilterName::Local(Kind::Counting) => Some(rate::bloom(bytes * 2, keys, positions)),
        FilterName::Local(Kind::Blocked) | FilterName::Hosted => {
            Some(rate::blocked(bytes / BLOCK, keys, positions))
        }
        _ => None,
    }
}

/// What the parts had done when the run ended, and nothing had been checked yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) stats: Stats,
    stages: Vec<Fact>,
    /// Nanoseconds of a query of the filter, and of the way of a key that it does not deny: a look at the store, a lease, a
    /// load and a fill.
    query: Option<f64>,
    way: Option<f64>,
    /// Rows that the database had in the end, if they were counted.
    pub(crate) rows: Option<u64>,
}

impl Measured {
    pub(crate) fn of<T: Store<u64, Bytes>>(shared: &Shared<T>) -> Self {
        let (store, database) = (shared.cache.store(), shared.cache.source());
        let mut stages: Vec<Fact> = shared.filter.iter().flat_map(|filter| filter.facts()).collect();
        stages.extend(store.facts());
        stages.extend(database.loads.fact("database: loads"));
        stages.extend(database.writes.fact("database: writes"));
        let way = || {
            Some(store.reads.typical_ns()? + 2.0 * store.fills.typical_ns()? + database.loads.typical_ns()?)
        };
        let query = shared.filter.as_ref().and_then(|filter| filter.asks.typical_ns());
        Self { stats: shared.cache.stats(), stages, query, way: way(), rows: None }
    }
}

/// Adds what only the filter and the cache know.
pub(crate) fn tell<T: Store<u64, Bytes>>(shared: &Shared<T>, known: &Known, report: &mut Report) {
    let (measured, total) = (shared.measured.lock().clone(), shared.tally.total());
    let (stats, database) = (measured.stats, shared.cache.source());
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push(Fact { name: name.to_owned(), value });
    if shared.filter.is_some() {
        let theory = known.state.map(|state| known.theory(&state, measured.rows));
        fact("false-positive rate", observed(total.false_positives(), theory));
        let (lost, present) = (total.denied_present.max(total.lost), total.present);
        fact(
            "false negatives",
            format!("{} of {} reads of rows that are there", grouped(lost), grouped(present)),
        );
    }
    let saved = total.absent.saturating_sub(database.in_vain());
    fact(
        "database calls saved",
        format!(
            "{} of {} that a cache alone makes for rows that are not there ({}); {} were made in vain",
            grouped(saved),
            grouped(total.absent),
            percent(saved as f64 / total.absent.max(1) as f64),
            grouped(database.in_vain())
        ),
    );
    if let Some(state) = &known.state {
        fact("filter: memory", memory(state));
        fact("filter: keys", keys(state, known.begun.as_ref()));
    }
    facts.extend(break_even(shared.mix.batch, &measured, &total, report));
    let mut fact = |name: &str, value: String| facts.push(Fact { name: name.to_owned(), value });
    let found = stats.hits + stats.misses;
    fact(
        "hit rate",
        format!("{} of {} reads that were not denied", percent(stats.hit_rate()), grouped(found)),
    );
    if total.inserted > 0 {
        let (inserted, perhaps) = (grouped(total.inserted), grouped(total.perhaps));
        fact("rows inserted", format!("{inserted}; {perhaps} reads asked for one whose write was under way"));
    }
    if shared.mix.batch > 1 {
        let keys = report.summary.operations as f64 * shared.mix.batch as f64;
        let value = format!("{:.0}, {} at a time", keys / report.summary.elapsed_s, shared.mix.batch);
        fact("keys a second", value);
    }
    if stats.filter_errors + stats.store_errors > 0 {
        let (filter, store) = (grouped(stats.filter_errors), grouped(stats.store_errors));
        fact(
            "errors",
            format!(
                "{filter} of the filter, {store} of the store; each key was taken for one that may be there"
            ),
        );
    }
    facts.extend(shared.rebuilds.fact());
    facts.extend(measured.stages);
    report.facts.append(&mut facts);
}

/// `0.819 % (95 %: 0.813 to 0.825 %) of 9,000,000 absent keys; theory 0.819 %`.
pub(crate) fn observed(observed: Observed, theory: Option<f64>) -> String {
    let (low, high) = observed.interval();
    let theory = theory.map_or_else(String::new, |theory| format!("; theory {}", percent(theory)));
    format!(
        "{} ({} of {} absent keys), 95 % interval {} to {}{theory}",
        percent(observed.rate()),
        grouped(observed.positives),
        grouped(observed.trials),
        percent(low),
        percent(high)
    )
}

/// With three significant digits, however small.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 1e-12 {
        return "0 %".to_owned();
    }
    let decimals = (2.0 - percent.log10().floor()).clamp(0.0, 15.0) as usize;
    format!("{percent:.decimals$} %")
}

fn memory(state: &State) -> String {
    let size = state.size_bytes;
    format!(
        "{} ({:.2} MB), {:.2} bits for each of its keys",
        bytes(size),
        size as f64 / 1e6,
        size as f64 * 8.0 / state.len.max(1) as f64
    )
}

fn keys(state: &State, begun: Option<&Begun>) -> String {
    let overloaded = if state.is_overloaded() { ": more than it was made for" } else { "" };
    let begun = match begun {
        Some(Begun::Built { rows, took }) => {
            format!("; built from {} rows in {}", grouped(*rows), nanos(took.as_nanos() as f64))
        }
        Some(Begun::Found { keys }) => {
            format!("; found with {} keys, as an earlier process left it", grouped(*keys))
        }
        None => String::new(),
    };
    format!(
        "{} of {} planned{overloaded}{begun}; epoch {}",
        grouped(state.len),
        grouped(state.planned),
        state.epoch
    )
}

/// From which share of absent keys on the filter is worth its query, by what was measured in this run.
fn break_even(batch: usize, measured: &Measured, total: &Total, report: &Report) -> Option<Fact> {
    /// Fewer tell nothing.
    const ENOUGH: u64 = 30;
    if batch > 1 {
        return None;
    }
    let class = report.classes.iter().find(|class| class.name == IN_VAIN_CLASS);
    let timed =
        |class: &ClassReport| class.service.as_ref().filter(|service| service.count >= ENOUGH).map(typical);
    let clock = report.harness.clock_ns;
    let query = measured.query.map(|mean| (mean - clock).max(0.1));
    let cost = match class.and_then(timed) {
        Some(mean) => (mean - clock - query.unwrap_or_default()).max(1.0),
        None => (measured.way? - 4.0 * clock).max(1.0),
    };
    let absent = total.absent as f64 / total.reads().max(1) as f64;
    let here = percent(absent);
    let value = match query {
        None => format!(
            "a key in vain costs {}: at {here} absent keys, a filter whose query takes less than {} is worth it",
            nanos(cost),
            nanos(cost * absent)
        ),
        Some(query) => {
            let share = query / (cost * (1.0 - total.false_positives().rate()).max(f64::MIN_POSITIVE));
            let (query, cost) = (nanos(query), nanos(cost));
            if share > 1.0 {
                format!("never: a query takes {query}, and a key in vain costs {cost} without the filter")
            } else {
                format!(
                    "worth it from {} absent keys on, here {here}: a query takes {query}, and a key in vain costs {cost} \
                     without the filter",
                    percent(share)
                )
            }
        }
    };
    Some(Fact { name: "break-even".to_owned(), value })
}

/// The mean without the slowest hundredth, which other processes make.
fn typical(latency: &Latency) -> f64 {
    let (mut sum, mut from) = (0.0, 0.0);
    for point in latency.spectrum.iter().filter(|point| point.quantile <= 0.99) {
        sum += point.ns as f64 * (point.quantile - from).max(0.0);
        from = point.quantile;
    }
    if from > 0.0 { sum / from } else { latency.mean_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits_however_small() {
        assert_eq!(percent(0.008_194), "0.819 %");
        assert_eq!(percent(0.000_008), "0.000800 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0), "0 %");
        let text = observed(Observed { positives: 82, trials: 10_000 }, Some(0.008_194));
        assert!(text.contains("82 of 10,000") && text.contains("theory 0.819 %"), "{text}");
    }
}
