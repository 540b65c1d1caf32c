//! Writers, readers, scans and restarts in seeded orders: no row of the database is ever denied.

use std::collections::BTreeMap;

use clock::ManualClock;
use filters::{Announced, Answer, BoxFuture, Kind, Local, Membership, Result, Scan};
use testkit::{Scratch, SplitMix64};

use super::{KINDS, plan};
use crate::common::hash;

/// How many rows there may be.
const ROWS: u64 = 200;
/// Rows that one step of a scan reads.
const LOT: u64 = 20;

/// A database that does writes late, and the filter before it.
struct World {
    filter: Local,
    random: SplitMix64,
    /// Rows that are there.
    rows: BTreeMap<u64, ()>,
    /// Announced, and not done yet.
    writing: Vec<(u64, Announced)>,
    /// Given up, and perhaps done later.
    lost: Vec<u64>,
    /// The next one of these is broken.
    fault: Fault,
}

/// What a service may get wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Writes first, announces then.
    WriteFirst,
    /// Says that a write is settled though nobody knows.
    SettleDoubts,
}

impl World {
    fn new(seed: u64, filter: Local, fault: Fault) -> Self {
        let (rows, writing, lost) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { filter, random: SplitMix64(seed), rows, writing, lost, fault }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    /// Something happens; then every row is asked for. `false` when one was denied.
    async fn step(&mut self) -> bool {
        match self.below(8) {
            0..=2 => {
                let row = self.below(ROWS);
                if self.fault == Fault::WriteFirst && self.below(2) == 0 {
                    self.rows.insert(row, ());
                    if !self.consistent() {
                        return false;
                    }
                }
                let announced = self.filter.announce(&[hash(row)]).await.expect("an announcement");
                self.writing.push((row, announced));
            }
            3 | 4 if !self.writing.is_empty() => {
                let which = self.below(self.writing.len() as u64) as usize;
                let (row, announced) = self.writing.swap_remove(which);
                match self.below(3) {
                    0 => {
                        // A time-out: it may happen yet.
                        self.lost.push(row);
                        if self.fault == Fault::SettleDoubts { announced.settle() } else { drop(announced) }
                    }
                    _ => {
                        self.rows.insert(row, ());
                        announced.settle();
                    }
                }
            }
            5 if !self.lost.is_empty() => {
                let which = self.below(self.lost.len() as u64) as usize;
                let row = self.lost.swap_remove(which);
                self.rows.insert(row, ());
            }
            6 => {
                let row = self.below(ROWS);
                self.rows.remove(&row);
            }
            _ => {}
        }
        self.consistent()
    }

    fn consistent(&self) -> bool {
        self.rows.keys().all(|row| self.filter.answer(hash(*row)) == Answer::Maybe)
    }
}

/// Reads the rows lot by lot, while the world goes on.
struct Reading<'a> {
    world: &'a mut World,
    from: u64,
    fine: bool,
}

impl Scan for Reading<'_> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            for _ in 0..self.world.below(6) {
                self.fine &= self.world.step().await;
            }
            if self.from >= ROWS {
                return Ok(false);
            }
            let lot = self.world.rows.range(self.from..self.from + LOT);
            hashes.extend(lot.map(|(row, ())| hash(*row)));
            // An end is told by a lot without rows; a stranger's key does no harm.
            hashes.push(hash(ROWS + self.from));
            self.from += LOT;
            for _ in 0..self.world.below(6) {
                self.fine &= self.world.step().await;
            }
            Ok(true)
        })
    }
}

/// Whether no row was ever denied.
async fn run(seed: u64, kind: Kind, folder: Option<&Scratch>, fault: Fault) -> bool {
    let build = || {
        let builder = Local::builder().kind(kind).clock(ManualClock::new());
        folder.map_or(builder, |folder| Local::builder().kind(kind).folder(folder.path())).build()
    };
    let mut world = World::new(seed, build().expect("a filter"), fault);
    for _ in 0..6 {
        for _ in 0..world.below(10) {
            if !world.step().await {
                return false;
            }
        }
        let filter = world.filter.clone();
        let mut reading = Reading { world: &mut world, from: 0, fine: true };
        filter.rebuild(plan(ROWS), &mut reading).await.expect("a rebuild");
        if !reading.fine || !world.consistent() {
            return false;
        }
        drop(filter);
        if folder.is_some() && world.below(3) == 0 {
            // The process dies; what it wrote may happen yet.
            let lost: Vec<u64> = world.writing.drain(..).map(|(row, _)| row).collect();
            world.lost.extend(lost);
            world.filter = Local::builder().build().expect("a filter");
            world.filter = build().expect("a filter");
            if !world.consistent() {
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn no_row_is_ever_denied() {
    for kind in KINDS {
        for seed in 0..300 {
            assert!(run(seed, kind, None, Fault::None).await, "{kind}, seed {seed}");
        }
        for seed in 0..20 {
            let scratch = Scratch::new().unwrap();
            assert!(run(seed, kind, Some(&scratch), Fault::None).await, "{kind}, seed {seed}, with files");
        }
    }
}

#[tokio::test]
async fn services_that_break_the_order_are_found() {
    for fault in [Fault::WriteFirst, Fault::SettleDoubts] {
        let mut denied = 0;
        for seed in 0..300 {
            denied += u32::from(!run(seed, Kind::Bloom, None, fault).await);
        }
        assert!(denied > 30, "{fault:?}: {denied} of 300");
    }
}
