//! The Ribbon filter.

use backends::{Error, ErrorKind, Result};

use crate::{
    Filter, Kind, Plan,
    bytes::{self, Header},
    plan::invalid,
};

mod banding;
mod equation;
#[macro_use]
mod layer;
mod parity;
mod partition;

use layer::{Found, Layer};

/// The most bits of a result: a false-positive rate of 1 in 65 536.
const MAX_BITS: u32 = 16;
/// The most layers. One has a hundredth of the keys of the one before, so even billions of keys end in the fifth.
const MAX_LAYERS: usize = 8;
/// How many seeds are tried. The first one serves, but for keys that somebody chose to prevent it.
const SEEDS: u64 = 4;
/// How many keys of a batch have their memory fetched at once.
const LOT: usize = 32;
/// From how many bytes on that pays: less is in a second-level cache for the most part.
const FAR: usize = 512 << 10;
/// Slots a key in the first layer: with fewer, more keys are bumped and the build takes longer.
const SLOTS: f64 = 1.02;

/// A static filter (Dillinger and Walzer, 2021) that has little more than the `log2(1 / rate)` bits a key which no
/// filter can go below: 7.4 at 0.78 %, where [`Bloom`](crate::Bloom) has 10 at 0.82 %.
///
/// Each key gives an equation over two elements: the sum of some of 32 neighbouring slots, from a start on, is a number
/// of `bits` bits. Which slots, and what number, the hash says. The table is the solution of all equations; a stranger's
/// equation holds with a chance of `2^-bits`, whatever is in the table.
///
/// Equations that contradict the others are put off into a second table together with their neighbours, those of that
/// into a third and so on, as in Bumped Ribbon (Dillinger, Hübschle-Schneider, Sanders and Walzer, 2022): a byte for
/// each 64 slots says which. So the build succeeds with the first seed, at any size.
///
/// # When to take it
///
/// For keys that are known beforehand, of which there are so many that memory decides, and for any rate: one more bit
/// halves it. [`Fuse8`](crate::Fuse8) answers faster, with 9 bits a key at 0.39 %, where this has 8.4; a `Bloom` filter
/// takes new keys.
///
/// An answer reads two or three neighbouring cache lines, however it turns out, and takes some 100 instructions. So where
/// the table is far beyond the caches, ask for many keys at once: one by one, a processor has four answers under way.
///
/// # Size
///
/// `1.035 * bits + 0.13` bits a key from some 100 000 keys on, and more for fewer. Hashes that are there more than once
/// count once. The build takes 8 bytes a hash beside the filter itself and some 0.5 MiB.
#[derive(Debug)]
pub struct Ribbon {
    layers: Vec<Layer>,
    bits: u32,
    seed: u64,
    planned: u64,
    len: u64,
}

impl Ribbon {
    /// The filter of `hashes`, in any order: with the rate of a plan for a rate, or the next better power of a half;
    /// and with the best rate that the bits of any other plan allow.
    ///
    /// # Errors
    ///
    /// `Invalid` for a plan of less than 1.17 bits a key or a rate below `2^-16`, and for 2^32 hashes and more;
    /// `Overloaded` when there is no memory for it; `Conflict` when no seed led to a solution, which takes hashes that
    /// were chosen for that.
    pub fn build(plan: Plan, hashes: &[u64]) -> Result<Self> {
        Self::with_bits(plan.items(), result_bits(plan)?, hashes)
    }

    fn with_bits(planned: u64, bits: u32, hashes: &[u64]) -> Result<Self> {
        if u32::try_from(hashes.len()).is_err() {
            return Err(invalid(format!("{} hashes in one Ribbon filter", hashes.len())));
        }
        for seed in 0..SEEDS {
            if let Some((layers, len)) = Self::layers(hashes, bits, seed)? {
                return Ok(Self { layers, bits, seed, planned: planned.max(len), len });
            }
        }
        let message = format!("no solution for {} hashes with {SEEDS} seeds", hashes.len());
        Err(Error::new(ErrorKind::Conflict, "memory", "build", message))
    }

    /// The layers, and how many different hashes there are; `None` when there would be too many layers.
    fn layers(hashes: &[u64], bits: u32, seed: u64) -> Result<Option<(Vec<Layer>, u64)>> {
        let mut layers = Vec::new();
        if hashes.is_empty() {
            return Ok(Some((layers, 0)));
        }
        let mix = |hash| equation::mix(hash, seed);
        let mut first = Layer::build(hashes, mix, groups(hashes.len()), bits)?;
        let different = hashes.len() - first.redundant;
        if different < hashes.len() / 100 * 95 {
            // It was made far too large.
            first = Layer::build(hashes, mix, groups(different), bits)?;
        }
        let (mut built, mut redundant) = (first, 0);
        loop {
            redundant += built.redundant;
            layers.push(built.layer);
            if built.bumped.is_empty() {
                return Ok(Some((layers, (hashes.len() - redundant) as u64)));
            }
            if layers.len() == MAX_LAYERS {
                return Ok(None);
            }
            built = Layer::build(&built.bumped, equation::next, groups(built.bumped.len()), bits)?;
        }
    }

    /// What [`Filter::encode`] stored.
    ///
    /// # Errors
    ///
    /// Those of [`AnyFilter::decode`](crate::AnyFilter::decode).
    pub fn decode(bytes: &[u8], hasher: u64) -> Result<Self> {
        let (header, table) = Header::open(bytes, hasher)?;
        let bits = u32::from(header.positions);
        let groups: Vec<u64> = bytes::words(table).take(MAX_LAYERS).collect();
        let used = groups.iter().take_while(|groups| **groups > 0).count();
        let wanted = groups[..used].iter().try_fold(8 * MAX_LAYERS as u64, |sum: u64, groups| {
            sum.checked_add(Layer::stored_bytes(*groups, bits)?)
        });
        header.expect(Kind::Ribbon, table, wanted)?;
        let damaged = || bytes::corrupt("a ribbon that contradicts itself".to_owned());
        let is_sound = (1..=MAX_BITS).contains(&bits)
            && groups[used..].iter().all(|groups| *groups == 0)
            && (used == 0) == (header.len == 0)
            && header.len <= header.planned
            && header.size == groups.iter().sum::<u64>();
        if !is_sound {
            return Err(damaged());
        }
        let mut rest = &table[8 * MAX_LAYERS..];
        let mut layers = Vec::with_capacity(used);
        for groups in &groups[..used] {
            let len = Layer::stored_bytes(*groups, bits).and_then(|len| usize::try_from(len).ok());
            let (layer, behind) = len.and_then(|len| rest.split_at_checked(len)).ok_or_else(damaged)?;
            layers.push(Layer::read(layer, *groups).ok_or_else(damaged)?);
            rest = behind;
        }
        Ok(Self { layers, bits, seed: header.seed, planned: header.planned, len: header.len })
    }

    /// How many bits a result has: the false-positive rate is `2^-bits`.
    #[must_use]
    pub const fn result_bits(&self) -> u32 {
        self.bits
    }

    /// A function for each number of bits: the longer ones save registers that the others don't need.
    #[inline(never)]
    fn contains_of<const BITS: usize>(&self, hash: u64) -> bool {
        self.contains_mixed::<BITS>(equation::mix(hash, self.seed))
    }

    #[inline(always)]
    fn contains_mixed<const BITS: usize>(&self, mixed: u64) -> bool {
        match self.layers.first().map(|layer| layer.find::<BITS>(mixed)) {
            Some(Found::Yes) => true,
            Some(Found::Bumped) => self.contains_bumped::<BITS>(mixed),
            Some(Found::No) | None => false,
        }
    }

    #[cold]
    fn contains_bumped<const BITS: usize>(&self, mut mixed: u64) -> bool {
        for layer in &self.layers[1..] {
            mixed = equation::next(mixed);
            match layer.find::<BITS>(mixed) {
                Found::No => return false,
                Found::Yes => return true,
                Found::Bumped => {}
            }
        }
        false
    }

    fn contains_all<const BITS: usize>(&self, hashes: &[u64], found: &mut Vec<bool>) {
        let far = self.layers.first().filter(|_| self.size_bytes() > FAR);
        let mut mixed = [0; LOT];
        for hashes in hashes.chunks(LOT) {
            let mut touched = 0;
            for (mixed, hash) in mixed.iter_mut().zip(hashes) {
                *mixed = equation::mix(*hash, self.seed);
                touched ^= far.map_or(0, |layer| layer.touch::<BITS>(*mixed));
            }
            std::hint::black_box(touched);
            found.extend(mixed[..hashes.len()].iter().map(|mixed| self.contains_mixed::<BITS>(*mixed)));
        }
    }
}

/// For how many groups of slots there is room for `keys` keys; with some to spare for the luck of few.
fn groups(keys: usize) -> u64 {
    let keys = keys as f64;
    let slots = keys * SLOTS + 3.0 * keys.sqrt() + 16.0;
    (slots as u64).div_ceil(equation::GROUP as u64)
}

fn result_bits(plan: Plan) -> Result<u32> {
    let bits = match plan.rate() {
        // A rate that is a power of a half, but for rounding, is one.
        Some(rate) => (-rate.log2() - 1e-9).ceil(),
        None => ((plan.bits() - 0.13) / 1.035).floor().min(f64::from(MAX_BITS)),
    };
    if (1.0..=f64::from(MAX_BITS)).contains(&bits) {
        Ok(bits as u32)
    } else {
        Err(invalid(format!("a Ribbon filter has results of 1 to {MAX_BITS} bits, not {bits}")))
    }
}

impl Filter for Ribbon {
    fn kind(&self) -> Kind {
        Kind::Ribbon
    }

    #[inline]
    fn contains_hash(&self, hash: u64) -> bool {
        with_bits!(self.bits, BITS => self.contains_of::<BITS>(hash))
    }

    fn contains_hashes(&self, hashes: &[u64], found: &mut Vec<bool>) {
        found.clear();
        with_bits!(self.bits, BITS => self.contains_all::<BITS>(hashes, found));
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn planned(&self) -> u64 {
        self.planned
    }

    fn size_bytes(&self) -> usize {
        self.layers.iter().map(Layer::size_bytes).sum()
    }

    fn expected_rate(&self) -> f64 {
        if self.layers.is_empty() { 0.0 } else { 0.5f64.powi(self.bits as i32) }
    }

    fn encode(&self, hasher: u64) -> Vec<u8> {
        let groups = || (0..MAX_LAYERS).map(|layer| self.layers.get(layer).map_or(0, Layer::groups));
        let header = Header {
            kind: Kind::Ribbon.code(),
            positions: self.bits as u16,
            hasher,
            planned: self.planned,
            len: self.len,
            size: groups().sum(),
            seed: self.seed,
        };
        header.seal_bytes(8 * MAX_LAYERS + self.size_bytes(), |out| {
            groups().for_each(|groups| out.extend_from_slice(&groups.to_le_bytes()));
            self.layers.iter().for_each(|layer| layer.write(out));
        })
    }
}
