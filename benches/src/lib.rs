//! The patterns side by side with their peers.
//!
//! All that is compared is measured in one run on one machine, slot by slot in turn, so that whatever else
//! the machine does hits each alike. Only ratios are claimed.

mod case;
mod inputs;
mod report;
pub mod server;
mod slot;
mod versions;

pub use case::{Case, Role, Subject};
pub use inputs::Inputs;
pub use report::{CaseReport, Report, SubjectReport};
pub use slot::{Effort, Outcome, WrongOutcome};
