//! The scripts, and how they are called.

use ::redis::{Cmd, RedisError};

/// A script, as it is sent to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Lease,
    Fill,
    Release,
    Invalidate,
    Put,
}

macro_rules! lua {
    ($($file:literal)+) => {
        concat!($(include_str!(concat!("lua/", $file, ".lua"))),+)
    };
}

impl Script {
    pub(super) const ALL: [Self; 5] = [Self::Lease, Self::Fill, Self::Release, Self::Invalidate, Self::Put];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Lease => lua!("prelude" "head" "lease"),
            Self::Fill => lua!("prelude" "head" "fill"),
            Self::Release => lua!("prelude" "head" "release"),
            Self::Invalidate => lua!("prelude" "head" "invalidate"),
            Self::Put => lua!("prelude" "put"),
        }
    }

    /// The operation, as errors carry it.
    pub(super) const fn op(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Fill => "fill",
            Self::Release => "release",
            Self::Invalidate => "invalidate",
            Self::Put => "put",
        }
    }

    /// By what a server knows it.
    pub(super) fn hash(self) -> String {
        ::redis::Script::new(self.text()).get_hash().to_owned()
    }
}

/// A call of `script`, which is its hash for `EVALSHA`, and its text for `EVAL`.
pub(super) fn command(name: &str, script: &str, key: &[u8], now: u64, arguments: impl Fn(&mut Cmd)) -> Cmd {
    let mut command = Cmd::new();
    command.arg(name).arg(script).arg(1).arg(key).arg(now);
    arguments(&mut command);
    command
}

/// Whether the key holds a list, or whatever else is no string.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
}
