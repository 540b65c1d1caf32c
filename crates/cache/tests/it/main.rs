//! Everything but the conformance suite, in one binary.

#![expect(clippy::unwrap_used, reason = "a test panics when something is wrong")]

mod memory;
