//! What needs no server program.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod fault_proxy;
mod server;
