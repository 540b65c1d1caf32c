//! A read of the cache in memory allocates nothing where it finds its key, nor where it does not.

use std::{hint::black_box, time::Duration};

use allocation_counter::measure;
use cache::{Fill, Memory, Policy, Version};

const KEYS: u64 = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_allocated_by_a_read() {
    for policy in [Policy::Lru, Policy::S3Fifo] {
        let store = Memory::builder().capacity(KEYS as usize).policy(policy).build::<String, u64>().unwrap();
        let keys: Vec<String> = (0..2 * KEYS).map(|key| format!("tenant-7:user-{key:08}")).collect();
        let (version, load_time) = (Version::ABSENT, Duration::ZERO);
        for (key, value) in keys.iter().zip(0..KEYS) {
            store.put_now(key, Fill { value: Some(value), version, fresh: MINUTE, keep: MINUTE, load_time });
        }
        let mut hits = 0;
        let info = measure(|| {
            for key in &keys {
                hits += u64::from(black_box(store.get_now(key.as_str())).is_some());
            }
        });
        assert_eq!((info.count_total, hits), (0, KEYS), "{policy:?}: {info:?}");
        let info = measure(|| store.remove_now(&keys[0]));
        assert!(info.count_current < 0, "what is given back is seen: {info:?}");
    }
}
