//! Readers, writers, evictions, lost invalidations, panics and cancellations in many orders, each from a seed: nothing
//! stale may be left in the end. `SCHEDULES` says how many.

use std::{env, fmt::Write as _, sync::Arc, time::Duration};

use cache::{Cache, Gap, Memory, Protocol, Reads, Source};
use clock::ManualClock;
use tokio::{runtime::Runtime, task::JoinHandle};

mod world;

use world::{Chance, Database, Far, KEYS, Rules};

/// How many schedules, unless `SCHEDULES` says otherwise.
const SCHEDULES: u64 = 5_000;

type Client = Cache<u64, u64, Arc<Database>, Far>;

/// What schedules have left.
#[derive(Debug, Default)]
struct Left {
    schedules: u64,
    /// With an entry in the end that is not what the database has.
    stale: u64,
    /// With a read that got something older than a write that had returned before the read began.
    old_reads: u64,
    /// The first few seeds of those.
    seeds: Vec<u64>,
    /// Schedules that left an entry at all: the others show nothing.
    with_entries: u64,
}

fn schedules() -> u64 {
    env::var("SCHEDULES").map_or(SCHEDULES, |number| number.parse().expect("SCHEDULES is a number"))
}

#[expect(clippy::print_stdout, reason = "the shares are what a long run is for")]
fn run(rules: Rules) -> Left {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let mut runtime_of_many: Runtime = runtime().unwrap();
    let mut left = Left::default();
    for seed in 0..schedules() {
        if seed % 1_000 == 999 {
            runtime_of_many = runtime().unwrap();
        }
        let (stale, old_read, entries) = runtime_of_many.block_on(schedule(rules, seed));
        left.schedules += 1;
        left.stale += u64::from(stale);
        left.old_reads += u64::from(old_read);
        left.with_entries += u64::from(entries);
        if (stale || old_read) && left.seeds.len() < 5 {
            left.seeds.push(seed);
        }
    }
    let mut line = String::new();
    let share = |number: u64| 100.0 * number as f64 / left.schedules as f64;
    write!(line, "{rules:?}: {} schedules, ", left.schedules).unwrap();
    write!(line, "{:.3} % left something stale, ", share(left.stale)).unwrap();
    write!(line, "{:.3} % had an old read, ", share(left.old_reads)).unwrap();
    write!(line, "{:.1} % left an entry; seeds {:?}", share(left.with_entries), left.seeds).unwrap();
    println!("{line}");
    left
}

/// One schedule: two processes on one store, three readers and two writers on few keys.
async fn schedule(rules: Rules, seed: u64) -> (bool, bool, bool) {
    let chance = Chance::new(seed);
    let clock = ManualClock::new();
    let memory = Arc::new(Memory::builder().capacity(64).clock(clock.clone()).build().unwrap());
    let database = Arc::new(Database::new(rules, chance.fork()));
    let client = |number: u64| -> Client {
        let store = Far::new(Arc::clone(&memory), rules, chance.fork());
        Cache::builder(Arc::clone(&database), store)
            .protocol(rules.protocol)
            .stale_for(Duration::from_secs(30))
            .lease(Duration::from_millis(500))
            .floor(Duration::from_millis(500))
            .seed(seed * 2 + number)
            .build()
            .unwrap()
    };
    let clients = [client(0), client(1)];

    let mut tasks: Vec<JoinHandle<bool>> = Vec::new();
    for number in 0..3 {
        let (client, database, chance) = (clients[number % 2].clone(), Arc::clone(&database), chance.fork());
        tasks.push(tokio::spawn(reader(client, database, chance)));
    }
    for number in 0..2 {
        let (client, chance) = (clients[number % 2].clone(), chance.fork());
        tasks.push(tokio::spawn(writer(client, chance)));
    }
    tasks.push(tokio::spawn(misfortune(Arc::clone(&memory), clock, rules, chance.fork())));

    let mut old_read = false;
    for task in tasks {
        if rules.faults && chance.one_in(12) {
            chance.pause().await;
            task.abort();
        }
        // A panic of a loader, and a cancellation, are part of the schedule.
        old_read |= task.await.unwrap_or(false);
    }
    // Refreshes, releases and invalidations that wait come to their end: the time passes when nothing else does.
    database.heal();
    clients.iter().for_each(|client| client.store().heal());
    tokio::time::sleep(Duration::from_secs(60)).await;

    let mut stale = false;
    let mut entries = false;
    for key in 0..KEYS {
        if let Some(entry) = memory.get_now(&key) {
            entries = true;
            stale |= entry.value != database.truth(key);
        }
    }
    (stale, old_read, entries)
}

/// Reads, and holds what it gets against the writes that had returned before.
async fn reader(client: Client, database: Arc<Database>, chance: Chance) -> bool {
    let mut old = false;
    for _ in 0..chance.below(4) {
        chance.pause().await;
        let key = chance.below(KEYS);
        let least = database.confirmed(key);
        if chance.one_in(4) {
            let values = client.get_many(&[key]).await;
            old |= values.into_iter().flatten().any(|value| value.unwrap_or(0) < least);
        } else if let Ok(value) = client.get(&key).await {
            old |= value.unwrap_or(0) < least;
        }
    }
    old
}

async fn writer(client: Client, chance: Chance) -> bool {
    for _ in 0..chance.below(3) {
        chance.pause().await;
        let key = chance.below(KEYS);
        let value = client.source().value();
        if client.write(&key, value).await.is_ok() {
            client.source().confirm(key, value);
        }
    }
    false
}

/// Evictions, and time that passes.
async fn misfortune(
    memory: Arc<Memory<u64, u64, ManualClock>>,
    clock: ManualClock,
    rules: Rules,
    chance: Chance,
) -> bool {
    for _ in 0..chance.below(4) {
        chance.pause().await;
        if rules.evictions && chance.one_in(2) {
            memory.remove_now(&chance.below(KEYS));
        }
        if rules.time && chance.one_in(4) {
            clock.advance(Duration::from_millis(chance.below(900)));
        }
    }
    false
}

#[test]
fn leases_and_floors_leave_nothing_stale() {
    for ties in [false, true] {
        let left = run(Rules { ties, ..Rules::default() });
        assert_eq!((left.stale, left.old_reads), (0, 0), "{left:?}");
        assert!(left.with_entries > left.schedules / 4, "{left:?}");
    }
}

#[test]
fn what_others_do_leaves_something_stale_in_the_same_schedules() {
    for protocol in [Protocol::DeleteAfter, Protocol::DeleteFirst] {
        let left = run(Rules { protocol, ..Rules::default() });
        assert!(left.stale > left.schedules / 100, "{left:?}");
    }
}

#[test]
fn a_lagging_replica_is_closed_by_the_floor_until_that_is_evicted_or_ends_which_is_named() {
    let lags = Rules { reads: Reads::MayLag, faults: false, ..Rules::default() };
    for ties in [false, true] {
        let kept = run(Rules { evictions: false, time: false, ties, ..lags });
        assert_eq!(kept.stale, 0, "{kept:?}");
    }
    let evicted = run(lags);
    assert!(evicted.stale > 0 && evicted.stale < evicted.schedules / 10, "{evicted:?}");

    let database = Database::new(lags, Chance::new(0));
    assert_eq!(database.reads(), Reads::MayLag);
    let memory = Memory::builder().capacity(1).build().unwrap();
    let cache = Cache::builder(Arc::new(database), memory).build::<u64, u64>().unwrap();
    assert_eq!(cache.gaps(), [Gap::ReplicaLag]);
}
