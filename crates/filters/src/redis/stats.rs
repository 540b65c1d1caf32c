//! What a hosted filter has seen.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since a [`HostedBloom`](super::HostedBloom) was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct HostedStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> HostedStats {
                HostedStats { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Keys that were asked for.
    checked,
    /// Those of them that no row has.
    absent,
    /// Those of them of whose segment nothing was known, and which were `Maybe` for that alone.
    unknown,
    /// Tables that were asked and were not there: replaced by a rebuild meanwhile, or lost.
    missing,
    /// Heads that were read.
    heads,
    /// Heads that were no head; their keys are `Maybe`.
    undecodable,
    /// Keys that were announced.
    announced,
    /// Announcements to a segment that were repeated, since a rebuild had begun or ended.
    repeated,
    /// Announcements that were refused since too many keys are in doubt.
    overloaded,
    /// Announcements that too few replicas or disks acknowledged.
    unacknowledged,
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}
