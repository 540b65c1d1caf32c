/// The random numbers of one operation: `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014), started from
/// the seed of the run and the index of the operation.
///
/// A generator that is seeded ten million times a second must be free to seed; its statistical
/// quality is enough for choosing keys.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of operation `index` in a run with `seed`.
    #[must_use]
    pub const fn new(seed: u64, index: u64) -> Self {
        // The seed is mixed before the index is added, so that runs with neighbouring seeds do not
        // share their operations.
        Self(mix(seed ^ 0x5851_f42d_4c95_7f2d).wrapping_add(mix(index)))
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`, by multiplication (D. Lemire, 2019): the bias is below `bound / 2^64`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// From 0 to just below 1.
    pub const fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
