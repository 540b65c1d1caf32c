//! What needs no server program.

mod fault_proxy;
mod server;
