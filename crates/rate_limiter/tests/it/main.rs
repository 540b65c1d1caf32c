//! What the conformance suite does not cover: the arithmetic against a model, the bounds of the
//! in-memory store, clocks that go back, and what cannot be built.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod clock_steps;
mod direct;
mod full_store;
mod invalid;
mod known_bugs;
#[cfg(feature = "lease")]
mod lease;
mod model;
mod overtaken;
mod reservations;
mod shadow;
#[cfg(feature = "metrics")]
mod telemetry;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "wait")]
mod waiting;
