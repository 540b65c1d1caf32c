use std::time::Duration;

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go ahead; the cost has been taken.
    Allowed {
        /// How long to wait before going ahead: zero but for a leaky bucket as a queue.
        delay: Duration,
        /// Whole requests of cost 1 that would be allowed now, one after the other.
        remaining: u64,
        /// Until the quota is whole again, if nothing else is asked for.
        reset_after: Duration,
    },
    /// Not now; nothing was taken.
    Denied {
        /// Asking again after exactly this pause succeeds, if nobody else asks meanwhile.
        retry_after: Duration,
    },
    /// Never: the cost exceeds the burst. Nothing was taken.
    NeverFits {
        /// The largest cost that can ever be allowed.
        burst: u64,
    },
}

impl Decision {
    #[inline]
    pub(crate) const fn allowed(remaining: u64, reset_after: Duration) -> Self {
        Self::Allowed { delay: Duration::ZERO, remaining, reset_after }
    }

    /// Whether the request may go ahead.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// How long to wait before asking again; `None` when allowed, and when waiting does not help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied { retry_after } => Some(*retry_after),
            Self::Allowed { .. } | Self::NeverFits { .. } => None,
        }
    }
}
