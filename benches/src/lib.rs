//! The patterns side by side with their peers.
//!
//! All that is compared is measured in one run on one machine, slot by slot in turn, so that whatever else
//! the machine does hits each alike. Only ratios are claimed.

pub mod case;
pub mod inputs;
pub mod report;
pub mod slot;
mod versions;

pub use case::{Case, Role, Subject};
pub use inputs::Inputs;
pub use report::{CaseReport, Report};
pub use slot::{Effort, Outcome, WrongOutcome};
