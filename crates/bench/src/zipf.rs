//! Keys by rank, the key of rank r with a probability proportional to `1 / r^exponent`.

use crate::Rng;

/// Samples ranks exactly, in some 10 ns: by composition and rejection (L. Devroye, "Non-Uniform Random
/// Variate Generation", 1986, II.4).
///
/// Ranks are grouped so that within a group the weight hardly falls. A group is drawn by its size
/// times the weight of its first rank, then a rank evenly from it, which is kept with its weight's
/// ratio to the first.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    exponent: f64,
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    /// Ranks from here, counted from 1.
    first: u64,
    size: u64,
    /// The alias method (A. Walker, 1974; M. Vose, 1991): this group below the threshold, else that one.
    threshold: u64,
    alias: u32,
}

/// A group is as wide as its first rank divided by this: the fewer, the more rejections.
const WIDTH: u64 = 64;

impl Zipf {
    /// Ranks from 1 to `count`, which is at least 1.
    pub(crate) fn new(count: u64, exponent: f64) -> Self {
        let mut groups = Vec::new();
        let mut first = 1;
        while first <= count {
            let size = (first / WIDTH).clamp(1, count - first + 1);
            groups.push(Group { first, size, threshold: u64::MAX, alias: 0 });
            first += size;
        }
        let weights =
            groups.iter().map(|group| group.size as f64 * (group.first as f64).powf(-exponent)).collect();
        for ((threshold, alias), group) in alias_table(weights).into_iter().zip(&mut groups) {
            group.threshold = threshold;
            group.alias = alias;
        }
        Self { exponent, groups }
    }

    /// A rank, counted from 1.
    #[inline]
    pub(crate) fn sample(&self, rng: &mut Rng) -> u64 {
        loop {
            // The high half of the product chooses a place, the low half is uniform beside it.
            let product = u128::from(rng.next_u64()) * self.groups.len() as u128;
            let group = &self.groups[(product >> 64) as usize];
            let group =
                if product as u64 <= group.threshold { group } else { &self.groups[group.alias as usize] };
            if group.size == 1 {
                return group.first;
            }
            let beyond = rng.below(group.size);
            // The weight is convex, hence above its tangent: most ranks are kept without a power.
            let keep = rng.unit();
            let fall = beyond as f64 / group.first as f64;
            if keep <= 1.0 - self.exponent * fall || keep <= (1.0 + fall).powf(-self.exponent) {
                return group.first + beyond;
            }
        }
    }
}

/// For each place the share of it that is its own, scaled to 2^64, and whose the rest is.
fn alias_table(weights: Vec<f64>) -> Vec<(u64, u32)> {
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    let mut shares: Vec<f64> = weights.into_iter().map(|weight| weight / mean).collect();
    let mut table: Vec<(u64, u32)> = (0..).zip(&shares).map(|(place, _)| (u64::MAX, place)).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..shares.len()).partition(|place| shares[*place] < 1.0);
    while let (Some(small), Some(large)) = (poor.pop(), rich.last().copied()) {
        table[small] = ((shares[small] * 2_f64.powi(64)) as u64, large as u32);
        shares[large] -= 1.0 - shares[small];
        if shares[large] < 1.0 {
            rich.pop();
            poor.push(large);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_exact_probabilities() {
        for exponent in [0.0, 0.5, 0.99, 1.0, 2.5, 10.0] {
            const COUNT: u64 = 5_000;
            const DRAWS: u64 = 2_000_000;
            let zipf = Zipf::new(COUNT, exponent);
            let mut counts = vec![0_u64; COUNT as usize];
            for draw in 0..DRAWS {
                counts[zipf.sample(&mut Rng::new(3, draw)) as usize - 1] += 1;
            }
            let sum: f64 = (1..=COUNT).map(|rank| (rank as f64).powf(-exponent)).sum();
            // Pearson's test over ranges of ranks that expect at least 50 draws each.
            let (mut squares, mut cells, mut expected, mut seen) = (0.0, 0.0, 0.0, 0.0);
            for rank in 1..=COUNT {
                expected += DRAWS as f64 * (rank as f64).powf(-exponent) / sum;
                seen += counts[rank as usize - 1] as f64;
                if expected >= 50.0 {
                    squares += (seen - expected) * (seen - expected) / expected;
                    cells += 1.0;
                    (expected, seen) = (0.0, 0.0);
                }
            }
            // Mean and deviation of a chi-squared of as many degrees of freedom.
            let deviation = (squares - cells) / f64::sqrt(2.0 * cells);
            assert!(deviation < 4.0, "exponent {exponent}: {deviation} deviations off");
        }
    }

    #[test]
    fn a_single_rank_is_always_drawn() {
        assert_eq!(Zipf::new(1, 0.99).sample(&mut Rng::new(1, 1)), 1);
    }
}
