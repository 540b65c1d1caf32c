//! How long an entry is good, and when it is loaded anew.

use std::time::Duration;

/// So many times the load time before an entry becomes stale, no fraction makes it refreshed: -ln(2^-53) is below 37.
const HORIZON: f64 = 37.0;

/// Whether an entry that is fresh for `fresh_ms` more is to be loaded anew already (XFetch; Vattani, Chierichetti and
/// Lowenstein, VLDB 2015): the more likely, the nearer its end and the longer its load takes. `chance` is drawn only when
/// it matters, above zero and at most one.
pub(crate) fn is_due(fresh_ms: i64, load_ms: u32, beta: f64, chance: impl FnOnce() -> f64) -> bool {
    if fresh_ms <= 0 {
        return true;
    }
    // A load that takes less than the clock can tell took something.
    let ahead = f64::from(load_ms.max(1)) * beta;
    let left = fresh_ms as f64;
    left <= ahead * HORIZON && left <= ahead * -chance().ln()
}

/// `ttl`, shortened by up to the fraction `jitter` of it, so that what was filled together does not expire together.
pub(crate) fn jittered(ttl: Duration, jitter: f64, chance: f64) -> Duration {
    ttl.saturating_sub(ttl.mul_f64(jitter * chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_due_when_it_is_stale_and_seldom_long_before() {
        assert!(is_due(0, 0, 0.0, || unreachable!()));
        assert!(is_due(-5, 10, 1.0, || unreachable!()));
        assert!(!is_due(3_700, 10, 1.0, || 0.5), "far from its end");
        assert!(is_due(10, 10, 1.0, || 0.3), "-ln(0.3) is 1.2 loads");
        assert!(!is_due(10, 10, 1.0, || 0.5), "-ln(0.5) is 0.7 loads");
        assert!(!is_due(1, 10, 0.0, || 0.001), "not before its end without a beta");
    }

    #[test]
    fn jitter_only_shortens() {
        let ttl = Duration::from_secs(100);
        assert_eq!(jittered(ttl, 0.1, 1.0), Duration::from_secs(90));
        assert_eq!(jittered(ttl, 0.0, 1.0), ttl);
        assert!(jittered(ttl, 0.1, 0.001) <= ttl);
    }
}
