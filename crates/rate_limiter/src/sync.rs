//! Atomics and locks: those of the model checker where it runs.

#[cfg(not(patterns_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(patterns_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(patterns_loom))]
pub(crate) use parking_lot::Mutex;

#[cfg(patterns_loom)]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(patterns_loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
