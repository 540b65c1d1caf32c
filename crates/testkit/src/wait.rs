use std::{
    panic::resume_unwind,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, looking every few milliseconds.
///
/// # Panics
///
/// When it does not hold within `deadline`; the text names `what` was waited for.
pub fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let holds = || if condition() { Ok(()) } else { Err(()) };
    assert!(poll(deadline, holds).is_ok(), "{what}: still not so after {deadline:?}");
}

/// Repeats `step` until it is `Ok`, at least once; the error is the last one before the deadline.
pub(crate) fn poll<T, E>(deadline: Duration, mut step: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let start = now();
    loop {
        match step() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= deadline => return Err(last),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

/// Runs `f` on a thread called `name` and gives up waiting for it after `deadline`; the thread then
/// goes on until the process ends. Its panic becomes one of the caller.
pub(crate) fn within<T: Send + 'static>(
    deadline: Duration,
    name: &str,
    f: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    let (done, result) = sync_channel(1);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ = done.send(f());
    })?;
    match result.recv_timeout(deadline) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(format!("no result within {deadline:?}").into()),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("the thread sends before it ends"),
        },
    }
}

/// The time of this machine: what is waited for here are other processes, which no clock moves.
#[expect(clippy::disallowed_methods, reason = "servers and sockets live in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_seen() {
        let mut looks = 0;
        eventually(Duration::from_secs(10), "three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "the moon is made of cheese: still not so after")]
    fn a_condition_that_does_not_is_named() {
        eventually(Duration::from_millis(1), "the moon is made of cheese", || false);
    }

    #[test]
    fn a_hanging_trial_is_given_up() {
        let (_hold, forever) = sync_channel::<()>(0);
        let hang = move || Ok(forever.recv()?);
        let error = within(Duration::from_millis(1), "hangs", hang).unwrap_err();
        assert_eq!(error.message(), Some("no result within 1ms"));
    }
}
