//! What users of a filter rely on.

mod common;
mod golden;
mod kinds;
mod ribbon;
