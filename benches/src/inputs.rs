//! What the subjects are asked, drawn before anything is timed.

use bench::{KeyDistribution, Keys, KeysError, Rng};

/// Keys, and for each thread the order in which it asks for them: the same for every subject.
#[derive(Debug)]
pub struct Inputs<K> {
    keys: Vec<K>,
    orders: Vec<Vec<u32>>,
}

/// As many as a block has, several times over.
const ORDER: u64 = 1 << 18;
const SEED: u64 = 7;

impl Inputs<()> {
    /// No keys: for what is asked without one.
    #[must_use]
    pub fn none(threads: usize) -> Self {
        Self { keys: vec![()], orders: vec![vec![0; 1 << 12]; threads] }
    }
}

impl<K> Inputs<K> {
    /// Draws from `keys` for each thread.
    ///
    /// # Errors
    ///
    /// When there are no keys.
    pub fn new(keys: Vec<K>, distribution: KeyDistribution, threads: usize) -> Result<Self, KeysError> {
        let chooser = Keys::new(keys.len() as u64, distribution)?;
        let order = |thread: usize| {
            let first = thread as u64 * ORDER;
            (first..first + ORDER).map(|index| chooser.choose(&mut Rng::new(SEED, index)) as u32).collect()
        };
        Ok(Self { orders: (0..threads).map(order).collect(), keys })
    }

    /// Every key once.
    #[must_use]
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    /// How many threads ask.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.orders.len()
    }

    /// The keys that `thread` asks for in its `block`th block.
    pub fn block(&self, thread: usize, block: usize, size: usize) -> impl Iterator<Item = &K> {
        let order = &self.orders[thread];
        let first = block * size % order.len();
        order[first..first + size].iter().map(|key| &self.keys[*key as usize])
    }
}
