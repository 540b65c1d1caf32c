//! Reads that find their key, of 100,000.

use std::{hash::Hash, time::Duration};

use bench::{BoxError, KeyDistribution};
use cache::{Fill, Memory, Policy, Version};
use peers::{Case, CaseReport, Effort, Inputs, Outcome, Role, Subject, SubjectReport};

/// The most that a read may take, as a multiple of `quick_cache`'s time, which knows no time to live.
const BAR: f64 = 2.0;
/// The same of moka's, which does.
const BAR_OF_MOKA: f64 = 0.125;
const KEYS: u64 = 100_000;
/// Where every shard of every peer has room for its keys.
const CAPACITY: usize = 2 * KEYS as usize;
const TTL: Duration = Duration::from_secs(3_600);

pub(crate) fn cases(
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
    reports: &mut Vec<CaseReport>,
) -> Result<(), BoxError> {
    for threads in [1, 2] {
        for distribution in [KeyDistribution::Uniform, KeyDistribution::Zipf { exponent: 0.99 }] {
            let numbers = Inputs::new((0..KEYS).collect(), distribution, threads)?;
            of_keys(&format!("u64, {distribution}, {threads} thr"), &numbers, effort, wanted, reports)?;
            let texts = (0..KEYS).map(|key| format!("tenant-7:user-{key:08}")).collect();
            let texts = Inputs::<String>::new(texts, distribution, threads)?;
            of_keys(&format!("String, {distribution}, {threads} thr"), &texts, effort, wanted, reports)?;
        }
    }
    Ok(())
}

fn of_keys<K: Hash + Eq + Clone + Send + Sync + 'static>(
    name: &str,
    inputs: &Inputs<K>,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
    reports: &mut Vec<CaseReport>,
) -> Result<(), BoxError> {
    let name = format!("hit, {name}");
    if !wanted(&name) {
        return Ok(());
    }
    let subjects = vec![
        ours("Lru", Policy::Lru, inputs.keys())?,
        ours("S3Fifo", Policy::S3Fifo, inputs.keys())?,
        quick_cache(inputs.keys()),
        moka(inputs.keys()),
        moka_with_our_hash(inputs.keys()),
    ];
    let report = Case { name, inputs, outcome: Outcome::Allow, subjects, bar: Some(BAR) }.run(effort)?;
    let to_moka = beside_moka(&report);
    reports.extend([report, to_moka]);
    Ok(())
}

/// The same turns, held to the other bar.
fn beside_moka(report: &CaseReport) -> CaseReport {
    let subjects =
        report.subjects.iter().filter(|subject| subject.role == Role::Ours || subject.name == "moka");
    let subjects = subjects.map(|subject| SubjectReport {
        name: subject.name.clone(),
        role: if subject.role == Role::Ours { Role::Ours } else { Role::Rival },
        nanos: subject.nanos.clone(),
    });
    CaseReport { name: report.name.clone(), bar: Some(BAR_OF_MOKA), subjects: subjects.collect() }
}

fn ours<K>(name: &str, policy: Policy, keys: &[K]) -> Result<Subject<K>, BoxError>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    let memory = Memory::builder().capacity(CAPACITY).policy(policy).build::<K, u64>()?;
    for (value, key) in (0..).zip(keys) {
        memory.put_now(key, fill(value));
    }
    Ok(Subject::new(name, Role::Ours, move |key: &K| memory.get_now(key).is_some()))
}

pub(crate) const fn fill(value: u64) -> Fill<u64> {
    let (version, load_time) = (Version::ABSENT, Duration::ZERO);
    Fill { value: Some(value), version, fresh: TTL, keep: TTL, load_time }
}

fn quick_cache<K>(keys: &[K]) -> Subject<K>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    let cache = quick_cache::sync::Cache::new(CAPACITY);
    (0..).zip(keys).for_each(|(value, key)| cache.insert(key.clone(), value));
    Subject::new("quick_cache", Role::Rival, move |key: &K| cache.get(key).is_some_and(|_: u64| true))
}

fn moka<K>(keys: &[K]) -> Subject<K>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    let cache = moka::sync::Cache::builder().max_capacity(CAPACITY as u64).time_to_live(TTL).build();
    (0..).zip(keys).for_each(|(value, key)| cache.insert(key.clone(), value));
    cache.run_pending_tasks();
    Subject::new("moka", Role::Other, move |key: &K| cache.get(key).is_some_and(|_: u64| true))
}

fn moka_with_our_hash<K>(keys: &[K]) -> Subject<K>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    let builder = moka::sync::Cache::builder().max_capacity(CAPACITY as u64).time_to_live(TTL);
    let cache = builder.build_with_hasher(foldhash::fast::RandomState::default());
    (0..).zip(keys).for_each(|(value, key)| cache.insert(key.clone(), value));
    cache.run_pending_tasks();
    let get = move |key: &K| cache.get(key).is_some_and(|_: u64| true);
    Subject::new("moka with our hash", Role::Other, get)
}
