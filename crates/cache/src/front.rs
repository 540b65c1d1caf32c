//! The place of a membership filter: before the entries, and before the database.

/// A filter, or none.
#[derive(Clone)]
pub(crate) struct Front {
    #[cfg(feature = "filters")]
    filter: Option<on::Filter>,
}

/// A key that the filter knows of, and whose row is about to be written.
pub(crate) struct Entered {
    #[cfg(feature = "filters")]
    announced: Option<filters::Announced>,
}

impl Front {
    pub(crate) const NONE: Self = Self {
        #[cfg(feature = "filters")]
        filter: None,
    };
}

#[cfg(not(feature = "filters"))]
mod off {
    use std::future::{Ready, ready};

    use backends::Result;

    use super::{Entered, Front};
    use crate::Key;

    impl Front {
        #[inline]
        pub(crate) const fn is_off(&self) -> bool {
            true
        }

        pub(crate) fn absent<K: Key>(&self, keys: &[K]) -> Ready<Result<Vec<bool>>> {
            ready(Ok(vec![false; keys.len()]))
        }

        pub(crate) fn absent_at_once<K: Key>(&self, _: &K) -> Option<bool> {
            Some(false)
        }

        pub(crate) fn announce<K: Key>(&self, _: &K) -> Ready<Result<Entered>> {
            ready(Ok(Entered {}))
        }
    }
}

impl Entered {
    /// Whether the database did it is known.
    pub(crate) fn settle(self) {
        #[cfg(feature = "filters")]
        if let Some(announced) = self.announced {
            announced.settle();
        }
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[cfg(feature = "filters")]
        if let Some(filter) = &self.filter {
            return filter.membership.fmt(f);
        }
        f.write_str("None")
    }
}

#[cfg(feature = "filters")]
mod on {
    use std::{cell::RefCell, sync::Arc};

    use backends::Result;
    use filters::{Answer, DynMembership, KeyHasher};

    use super::{Entered, Front};
    use crate::Key;

    type Hash = dyn Fn(&[u8]) -> u64 + Send + Sync;

    #[derive(Clone)]
    pub(crate) struct Filter {
        pub(crate) membership: Arc<dyn DynMembership>,
        hash: Arc<Hash>,
    }

    impl Filter {
        fn hash<K: Key>(&self, key: &K) -> u64 {
            thread_local! {
                static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
            }
            let hash = |bytes: &mut Vec<u8>| {
                bytes.clear();
                key.encode(bytes);
                (self.hash)(bytes)
            };
            // A key that asks the cache while it is encoded gets bytes of its own.
            BYTES.with(|bytes| match bytes.try_borrow_mut() {
                Ok(mut bytes) => hash(&mut bytes),
                Err(_) => hash(&mut Vec::new()),
            })
        }
    }

    impl Front {
        pub(crate) fn new(membership: Arc<dyn DynMembership>, hasher: impl KeyHasher) -> Self {
            Self { filter: Some(Filter { membership, hash: Arc::new(move |key| hasher.hash(key)) }) }
        }

        #[inline]
        pub(crate) const fn is_off(&self) -> bool {
            self.filter.is_none()
        }

        /// Of which `keys` the database has no row, for certain.
        pub(crate) async fn absent<K: Key>(&self, keys: &[K]) -> Result<Vec<bool>> {
            let Some(filter) = &self.filter else { return Ok(vec![false; keys.len()]) };
            let hashes: Vec<u64> = keys.iter().map(|key| filter.hash(key)).collect();
            let answers = filter.membership.check(&hashes).await?;
            Ok(answers.into_iter().map(|answer| answer == Answer::Absent).collect())
        }

        /// The same of one key, where that takes no round trip.
        #[inline]
        pub(crate) fn absent_at_once<K: Key>(&self, key: &K) -> Option<bool> {
            let filter = self.filter.as_ref()?;
            Some(filter.membership.look(filter.hash(key))? == Answer::Absent)
        }

        /// Adds a key, before its row is written.
        pub(crate) async fn announce<K: Key>(&self, key: &K) -> Result<Entered> {
            let Some(filter) = &self.filter else { return Ok(Entered { announced: None }) };
            let hash = filter.hash(key);
            Ok(Entered { announced: Some(filter.membership.announce(&[hash]).await?) })
        }
    }
}
