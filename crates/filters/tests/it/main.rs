//! What users of a filter rely on.

mod common;
mod counting;
mod golden;
mod kinds;
mod local;
mod merge;
mod ribbon;
