//! Stored filters of earlier releases, byte for byte.

use std::{fs, path::Path};

use filters::{AnyFilter, Filter, Kind, Plan};

use crate::common::hash;

/// Kinds that have a file `tests/golden/KIND.bin`: that of 500 keys, planned with 10 bits for each.
const KINDS: [Kind; 7] = Kind::ALL;
const KEYS: u64 = 500;
const HASHER: u64 = 0x0123_4567_89AB_CDEF;

/// A new kind begins without a file: this writes what it should have, and says where to. For a kind that has one, a
/// difference means that filters which users have stored can't be read, or answer wrongly.
#[test]
fn what_was_stored_is_read_and_made_again() {
    let mut begun = Vec::new();
    for kind in KINDS {
        let hashes: Vec<u64> = (0..KEYS).map(hash).collect();
        let made =
            AnyFilter::build(kind, Plan::for_bits(KEYS, 10.0).unwrap(), &hashes).unwrap().encode(HASHER);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{kind}.bin"));
        let Ok(golden) = fs::read(&path) else {
            let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{kind}.bin"));
            fs::write(&fresh, made).unwrap();
            begun.push(format!("cp {} {}", fresh.display(), path.display()));
            continue;
        };
        let filter = AnyFilter::decode(&golden, HASHER).unwrap();
        assert_eq!((filter.kind(), filter.planned()), (kind, KEYS));
        assert!(hashes.iter().all(|hash| filter.contains_hash(*hash)), "{kind}");
        assert!(filter.encode(HASHER) == golden, "{kind} is stored in another way than it was read");
        assert!(made == golden, "{kind} is made in another way than in earlier releases");
    }
    assert!(begun.is_empty(), "to begin kinds:\n{}", begun.join("\n"));
}
