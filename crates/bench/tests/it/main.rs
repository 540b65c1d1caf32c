//! Tests of the library through its public interface.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod compare;
mod compare_power;
mod hgrm;
mod html;
mod runner;
mod samples;
mod schema;
