//! What the report says of the cache.

use bench::{Fact, Report, format::grouped};
use cache::Store;

use crate::{Args, database::Rows, optimum, row::Value, workload::Shared};

/// Adds what only the cache knows.
pub(crate) fn tell<T: Store<u64, Value>>(args: &Args, shared: &Shared<T>, report: &mut Report) {
    let stats = shared.cache.stats();
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push(Fact { name: name.to_owned(), value });
    let reads = stats.hits + stats.misses;
    let share = |part: u64| format!("{} ({:.2} %)", grouped(part), 100.0 * part as f64 / reads.max(1) as f64);
    let best = if args.backend.is_memory() {
        let best = optimum::hit_rate(args.rows.rows, args.capacity(), args.rows.distribution);
        format!("; {:.2} % if it held the hottest keys from the start, without writes", 100.0 * best)
    } else {
        String::new()
    };
    fact("hit rate", format!("{:.2} % of {} reads{best}", 100.0 * stats.hit_rate(), grouped(reads)));
    let calls = shared.cache.source().loads.calls();
    fact("database calls saved", share(reads.saturating_sub(calls)));
    fact("loads", format!("{}, {} failed", share(stats.loads), grouped(stats.failed_loads)));
    fact("coalesced", format!("{} misses waited for another's load", grouped(stats.coalesced)));
    fact(
        "fills refused",
        format!(
            "{} lease revoked, {} older than a write, {} in doubt",
            grouped(stats.refused_revoked),
            grouped(stats.refused_older),
            grouped(stats.refused_tie)
        ),
    );
    fact("stale hits", share(stats.stale_hits));
    fact("negative hits", share(stats.negative_hits));
    fact("refreshes", format!("{}, {} skipped", grouped(stats.refreshes), grouped(stats.refreshes_skipped)));
    fact(
        "invalidations",
        format!(
            "{} of {} writes; {} queued, {} dropped, {} less durable than asked",
            grouped(stats.invalidations),
            grouped(stats.writes),
            grouped(stats.invalidations_queued),
            grouped(stats.invalidations_dropped),
            grouped(stats.invalidations_under)
        ),
    );
    fact("store errors", grouped(stats.store_errors));
    if report.summary.operations > 0 && shared.mix.batch > 1 {
        let keys = report.summary.operations as f64 * shared.mix.batch as f64;
        fact(
            "keys a second",
            format!("{:.0}, {} at a time", keys / report.summary.elapsed_s, shared.mix.batch),
        );
    }
    let lost = shared.cache.store().lost();
    if lost > 0 {
        fact("fault: invalidations lost", grouped(lost));
    }
    if let Rows::Memory(table) = &shared.cache.source().rows
        && table.lagging() > 0
    {
        fact("fault: loads from a replica", grouped(table.lagging()));
    }
    facts.extend(shared.faults.facts());
    facts.extend(shared.cache.store().facts());
    let database = shared.cache.source();
    facts.extend(database.loads.fact("database: loads"));
    facts.extend(database.writes.fact("database: writes"));
    report.facts.append(&mut facts);
    let checked = shared.checked.lock();
    if shared.fails_over && checked.stale > 0 {
        report.facts.push(Fact { name: "stale keys, each".to_owned(), value: checked.listed() });
    }
    drop(checked);
    excuse(shared, report);
}

/// Says aloud what is stale, where no guarantee was given.
fn excuse<T: Store<u64, Value>>(shared: &Shared<T>, report: &mut Report) {
    let excuses = shared.excuses();
    if excuses.is_empty() {
        return;
    }
    let (checked, back) = (shared.checked.lock().clone(), shared.tally.back());
    let because = excuses.join("; ");
    report.facts.push(Fact { name: "no guarantee, since".to_owned(), value: because.clone() });
    report.facts.push(Fact { name: "stale keys left".to_owned(), value: checked.figures() });
    report.facts.push(Fact { name: "reads that went back".to_owned(), value: grouped(back) });
    if checked.stale > 0 || back > 0 {
        bench::complain(&format!(
            "cache: {} stale keys are left and {} reads went back, which is no failure: {because}",
            grouped(checked.stale),
            grouped(back)
        ));
    }
}
