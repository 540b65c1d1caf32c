//! What a user of a cache relies on.

mod engine;
#![expect(clippy::unwrap_used, reason = "a test panics when something is wrong")]

mod memory;
mod rows;
mod schedules;
mod unreliable;
