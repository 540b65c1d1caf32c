//! What a user of a cache relies on.

mod engine;
mod memory;
mod rows;
mod schedules;
mod unreliable;
