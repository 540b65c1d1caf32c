//! What a user of a cache relies on.
#![expect(clippy::unwrap_used, reason = "a test panics when something is wrong")]

mod engine;
#[cfg(feature = "filters")]
mod filter;
mod memory;
mod rows;
mod schedules;
mod unreliable;
