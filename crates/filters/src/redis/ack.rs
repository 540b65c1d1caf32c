use std::time::Duration;

use backends::redis_1::{Acknowledged, Wait};

/// Who has to have an announced key before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// The master alone: a failover, or a restart from disk, may forget the last ones.
    #[default]
    None,
    /// That many replicas, too.
    Replicas(u32),
    /// The disks of that many replicas and, with `local`, of the master: Redis or Valkey of 7.2 or later, with
    /// append-only files.
    Fsync {
        /// Whether that of the master counts.
        local: bool,
        /// How many replicas.
        replicas: u32,
    },
}

impl Ack {
    /// What to wait for.
    pub(super) const fn wait(self, timeout: Duration) -> Option<Wait> {
        match self {
            Self::None => None,
            Self::Replicas(replicas) => Some(Wait::for_replicas(replicas, timeout)),
            Self::Fsync { local, replicas } => Some(Wait::fsync(local, replicas, timeout)),
        }
    }

    /// What was waited for and did not come.
    pub(super) fn lacks(self, acknowledged: &Acknowledged) -> Option<String> {
        let (Acknowledged { replicas, fsynced, .. }, is_enough) = match self {
            Self::None => return None,
            Self::Replicas(wanted) => (acknowledged, acknowledged.replicas >= wanted),
            Self::Fsync { local, replicas } => {
                (acknowledged, acknowledged.replicas >= replicas && (acknowledged.fsynced || !local))
            }
        };
        match self {
            _ if is_enough => None,
            Self::Fsync { local, replicas: wanted } => Some(format!(
                "on the disks of {replicas} of {wanted} replicas{}",
                if local && !fsynced { ", and not on the master's" } else { "" }
            )),
            Self::None | Self::Replicas(_) => Some(format!("received by {replicas} replicas")),
        }
    }
}
