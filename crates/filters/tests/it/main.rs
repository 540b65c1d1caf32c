//! What users of a filter rely on.

mod common;
mod kinds;
mod local;
