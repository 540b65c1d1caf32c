//! Names of metrics, spans and labels, the same in every crate.
//!
//! A metric or span is called `patterns.<crate>.<what>`, for example
//! `patterns.rate_limiter.decisions`. Crates export them behind their features `metrics` and
//! `tracing`; the counters are also readable as plain values without either.

/// Label: which backend, for example `redis-cluster`.
pub const BACKEND: &str = "backend";
/// Label: which operation, for example `acquire`.
pub const OP: &str = "op";
/// Label: how it ended: a word of the pattern (`allowed`, `denied`) or an
/// [`ErrorKind`](crate::ErrorKind) in snake case.
pub const OUTCOME: &str = "outcome";
