//! Everything at once.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use filters::{BoxFuture, ErrorKind, Membership as _, Result, Scan, redis::HostedBloom};
use testkit::{Failed, SplitMix64};
use tokio::task::JoinSet;

use super::handles::{connect, found, keys, plan};

const REBUILDS: u64 = 12;
const WRITERS: u64 = 4;

/// What a database would be: rows are written after they were announced, and read by scans.
#[derive(Default)]
struct Rows {
    rows: Mutex<Vec<u64>>,
    checked: AtomicU64,
    stop: AtomicBool,
}

impl Rows {
    fn all(&self) -> Vec<u64> {
        self.rows.lock().unwrap().clone()
    }
}

/// Sees rows up to its beginning, and none that is written while it runs.
struct Snapshot<'a> {
    rows: &'a Rows,
    left: Option<std::vec::IntoIter<u64>>,
}

impl Scan for Snapshot<'_> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            let left = self.left.get_or_insert_with(|| self.rows.all().into_iter());
            let before = hashes.len();
            hashes.extend(left.by_ref().take(200));
            tokio::task::yield_now().await;
            Ok(hashes.len() > before)
        })
    }
}

async fn write(filter: &HostedBloom, rows: &Rows, task: u64) -> Result<()> {
    let mut number = 0;
    while !rows.stop.load(Ordering::SeqCst) {
        number += 1;
        let new = keys(task << 32 | number, 5);
        let announced = filter.announce(&new).await?;
        rows.rows.lock().unwrap().extend(&new);
        announced.settle();
        assert_eq!(found(filter, &new).await?, new.len(), "a row that was just written");
    }
    Ok(())
}

async fn read(filter: &HostedBloom, rows: &Rows, seed: u64) -> Result<()> {
    let mut random = SplitMix64(seed);
    while !rows.stop.load(Ordering::SeqCst) {
        let some: Vec<_> = {
            let rows = rows.rows.lock().unwrap();
            (0..64.min(rows.len())).map(|_| random.of(&rows)).collect()
        };
        assert_eq!(found(filter, &some).await?, some.len(), "rows that were written");
        rows.checked.fetch_add(some.len() as u64, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(crate) async fn run(url: &str) -> Result<(), Failed> {
    let builder = HostedBloom::builder().prefix(testkit::unique("stress")).segments(16);
    let handle = || async { Ok::<_, Failed>(Arc::new(builder.clone().build(connect(url).await?)?)) };
    let (rows, mut tasks) = (Arc::new(Rows::default()), JoinSet::new());
    for task in 1..=WRITERS {
        let (filter, written) = (handle().await?, Arc::clone(&rows));
        tasks.spawn(async move { write(&filter, &written, task).await });
        let (filter, written) = (handle().await?, Arc::clone(&rows));
        tasks.spawn(async move { read(&filter, &written, 100 + task).await });
    }
    let (one, other) = (handle().await?, handle().await?);
    for number in 0..REBUILDS {
        let filter = if number % 2 == 0 { &one } else { &other };
        let before = rows.checked.load(Ordering::SeqCst);
        let mut scan = Snapshot { rows: &rows, left: None };
        let items = [20_000, 2_000, 60_000][number as usize % 3];
        filter.rebuild(plan(items), &mut scan).await?;
        while rows.checked.load(Ordering::SeqCst) < before + 640 {
            // Panics of tasks end the test.
            if let Some(ended) = tasks.try_join_next() {
                ended??;
                return Err("a task ended too soon".into());
            }
            tokio::task::yield_now().await;
        }
    }
    // Two at a time: one of them is refused, and neither harms the other.
    let mut scans = [Snapshot { rows: &rows, left: None }, Snapshot { rows: &rows, left: None }];
    let [first, second] = &mut scans;
    let results = tokio::join!(one.rebuild(plan(60_000), first), other.rebuild(plan(60_000), second));
    let is_conflict = |error: &filters::Error| error.kind() == ErrorKind::Conflict;
    assert!([&results.0, &results.1].iter().all(|result| result.as_ref().err().is_none_or(is_conflict)));
    assert!(results.0.is_ok() || results.1.is_ok(), "{results:?}");
    rows.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let all = rows.all();
    for filter in [&one, &other] {
        for some in all.chunks(1_000) {
            assert_eq!(found(filter, some).await?, some.len());
        }
        let share = found(filter, &keys(9, 2_000)).await? as f64 / 2_000.0;
        assert!(share < 0.1 + filter.state().await?.expected_rate * 2.0, "{share}");
    }
    one.remove().await?;
    Ok(())
}
