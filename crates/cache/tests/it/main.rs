//! Everything but the conformance suite, in one binary.

mod memory;
