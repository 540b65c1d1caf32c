//! What a decision comes to, as reports class it.

use bench::{Class, ClassKind};

const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
pub(crate) const FAILED: u8 = 2;
/// Several decisions at once.
pub(crate) const BATCH: u8 = 3;

const BOTH: [Class; 4] = [
    Class { name: "allowed", kind: ClassKind::Success },
    Class { name: "denied", kind: ClassKind::Rejected },
    Class { name: "failed", kind: ClassKind::Error },
    Class { name: "batch", kind: ClassKind::Success },
];
/// Of decisions one at a time.
pub(crate) const SINGLE: &[Class] = BOTH.split_at(BATCH as usize).0;
/// Of decisions that may come in batches.
pub(crate) const CLASSES: &[Class] = &BOTH;

pub(crate) const fn class_of(allowed: bool) -> u8 {
    if allowed { ALLOWED } else { DENIED }
}
