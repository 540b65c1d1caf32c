//! Bloom filters in blocks.

#[cfg_attr(not(any(test, feature = "redis")), expect(dead_code, reason = "the filters of this rule follow"))]
pub(crate) mod rule;
