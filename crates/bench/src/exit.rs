use std::{fmt, process::ExitCode};

/// How a binary ends; the exit codes are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitStatus {
    /// 0: everything held.
    Ok,
    /// 1: the run failed.
    Failed,
    /// 2: the flags make no sense.
    Usage,
    /// 3: a threshold of `--fail-on` was crossed.
    Threshold,
    /// 4: worse than the baseline.
    Regression,
    /// 5: the offered rate was not sustained.
    Rate,
    /// 6: an invariant broke.
    Invariant,
    /// 130: interrupted; the report is partial.
    Interrupted,
}

impl ExitStatus {
    /// For the end of a `--help`.
    pub const HELP: &'static str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 threshold crossed, 4 regression, \
         5 rate not sustained, 6 invariant broken, 130 interrupted (with the partial report)";

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Threshold => 3,
            Self::Regression => 4,
            Self::Rate => 5,
            Self::Invariant => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// The flags make no sense together: the error of a binary that ends with [`ExitStatus::Usage`].
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}
