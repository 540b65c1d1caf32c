//! Whatever bytes are decoded: no panic, little memory, and a filter that can be used, or an error.
//!
//! `INPUTS` says how many; a long run is `INPUTS=1000000 cargo test --release -p filters --test fuzz`.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    env,
};

use filters::{AnyFilter, Filter, Kind, Plan};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

#[path = "it/common.rs"]
mod common;

/// How many inputs, unless `INPUTS` says otherwise.
const INPUTS: u64 = 20_000;
const HEADER: usize = 64;
const KINDS: [Kind; 7] = Kind::ALL;

/// Counts what the thread has, and remembers the most.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn held(more: usize, less: usize) {
    let now = (HELD.get() + more).saturating_sub(less);
    HELD.set(now);
    MOST.set(MOST.get().max(now));
}

#[expect(unsafe_code, reason = "an allocator that hands everything to that of the system")]
// SAFETY: every call goes to `System` with the arguments that came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(layout.size(), 0);
        // SAFETY: the caller's promise is the same as that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        held(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        held(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        held(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        common::hash(self.0)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number that breaks something, as likely as any.
    fn number(&mut self) -> u64 {
        let power = 1u64 << self.below(64);
        match self.below(6) {
            0 => self.next(),
            1 => power,
            2 => power.wrapping_sub(1),
            3 => power.wrapping_neg(),
            4 => self.next() % 300,
            _ => u64::MAX - self.next() % 300,
        }
    }
}

/// Makes length and checksum right, so that the fields are what decides.
fn seal(bytes: &mut [u8]) {
    let len = (bytes.len() - HEADER) as u64;
    bytes[48..56].copy_from_slice(&len.to_le_bytes());
    let (head, table) = bytes.split_at(HEADER);
    let checksum = xxh3_64_with_seed(table, xxh3_64(&head[..56]));
    bytes[56..HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// A static filter whose fields fit the length of its table, and may lead out of it all the same.
fn forged(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..6].copy_from_slice(b"PFLT\x01\x06");
    let (positions, size) = if chance.below(2) == 0 {
        let bits = chance.below(19);
        let groups: Vec<usize> = (0..chance.below(4)).map(|_| chance.below(4)).collect();
        (0..8).for_each(|layer| bytes.extend((groups.get(layer).copied().unwrap_or(0) as u64).to_le_bytes()));
        let len: usize = groups.iter().map(|groups| (2 * groups + 1) * bits * 4 + groups).sum();
        bytes.resize(bytes.len() + len, chance.next() as u8);
        (bits, groups.iter().sum())
    } else {
        let wide = chance.below(2);
        bytes[5] = 4 + wide as u8;
        let (length, count) = (chance.below(17), chance.below(65));
        bytes.extend((length as u32).to_le_bytes());
        bytes.extend((count as u32).to_le_bytes());
        let size = count + 2 * length;
        bytes.resize(bytes.len() + size * (1 + wide), chance.next() as u8);
        (8 * (1 + wide), size)
    };
    bytes[6] = positions as u8;
    bytes[16] = 100;
    bytes[24] = 50;
    bytes[32..40].copy_from_slice(&(size as u64).to_le_bytes());
    bytes
}

fn input(chance: &mut Chance, valid: &[Vec<u8>]) -> Vec<u8> {
    if chance.below(4) == 0 {
        let mut bytes = forged(chance);
        seal(&mut bytes);
        return bytes;
    }
    let mut bytes = valid[chance.below(valid.len())].clone();
    for _ in 0..chance.below(4) {
        match chance.below(7) {
            // A number of the header; or of what a kind has at the front of its table.
            0 | 1 => {
                let at = [8, 16, 24, 32, 40][chance.below(5)];
                bytes[at..at + 8].copy_from_slice(&chance.number().to_le_bytes());
            }
            2 => {
                let at = HEADER + 4 * chance.below(18);
                if let Some(number) = bytes.get_mut(at..at + 4) {
                    number.copy_from_slice(&(chance.number() as u32).to_le_bytes());
                }
            }
            3 => {
                let at = chance.below(8);
                bytes[at] = chance.number() as u8;
            }
            4 => {
                let at = chance.below(bytes.len());
                bytes[at] ^= 1 << chance.below(8);
            }
            5 => bytes.truncate(chance.below(bytes.len() + 1).max(HEADER)),
            _ => bytes.resize(bytes.len() + chance.below(100), chance.next() as u8),
        }
    }
    if chance.below(50) == 0 {
        bytes[HEADER..].iter_mut().for_each(|byte| *byte = chance.next() as u8);
    }
    seal(&mut bytes);
    match chance.below(50) {
        0 => bytes.truncate(chance.below(bytes.len() + 1)),
        1 => bytes[48..56].copy_from_slice(&chance.number().to_le_bytes()),
        _ => {}
    }
    bytes
}

/// Uses a filter that was decoded in every way.
fn use_all(filter: &AnyFilter, chance: &mut Chance) {
    let hashes: Vec<u64> = (0..40).map(|_| chance.number()).collect();
    let mut found = Vec::new();
    filter.contains_hashes(&hashes, &mut found);
    for (hash, found) in hashes.iter().zip(&found) {
        assert_eq!(filter.contains_hash(*hash), *found);
    }
    let (_, _, _) = (filter.expected_rate(), filter.is_overloaded(), filter.size_bytes());
    let stored = filter.encode(7);
    assert_eq!(AnyFilter::decode(&stored, 7).expect("just stored").encode(7), stored);
    if let Some(insert) = filter.as_insert() {
        for hash in &hashes {
            insert.insert_hash(*hash);
            assert!(insert.contains_hash(*hash));
        }
        filter.encode(7);
    }
}

#[test]
fn bytes_that_nobody_stored_do_no_harm() {
    let inputs = env::var("INPUTS").map_or(INPUTS, |number| number.parse().expect("INPUTS is a number"));
    let mut valid = Vec::new();
    for kind in KINDS {
        for keys in [0, 1, 40, 300] {
            for bits in [2.0, 10.0, 20.0] {
                let hashes: Vec<u64> = (0..keys).map(common::hash).collect();
                let plan = Plan::for_bits(keys.max(1), bits).unwrap();
                valid.push(AnyFilter::build(kind, plan, &hashes).unwrap().encode(7));
            }
        }
    }
    let (mut decoded, mut most) = (0, 0.0f64);
    for seed in 0..inputs {
        let mut chance = Chance(seed << 20);
        let mut bytes = input(&mut chance, &valid);
        if bytes.len() >= HEADER && chance.below(20) > 0 {
            bytes[8..16].copy_from_slice(&7u64.to_le_bytes());
            if bytes[48..56] == ((bytes.len() - HEADER) as u64).to_le_bytes() {
                seal(&mut bytes);
            }
        }
        let before = HELD.get();
        MOST.set(before);
        let filter = AnyFilter::decode(&bytes, 7);
        let taken = MOST.get() - before;
        // Errors have a message, and a filter its own few fields.
        assert!(taken <= 2 * bytes.len() + 2_048, "seed {seed}: {taken} bytes for {}", bytes.len());
        most = most.max(taken as f64 / bytes.len().max(1_024) as f64);
        if let Ok(filter) = filter {
            decoded += 1;
            use_all(&filter, &mut chance);
        }
    }
    println!("{inputs} inputs: {decoded} decoded; at most {most:.2} bytes of memory for one of the input");
    assert!(decoded > inputs / 20 && decoded < inputs / 10 * 9, "{decoded} of {inputs} say little");
}
