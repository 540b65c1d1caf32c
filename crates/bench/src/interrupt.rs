//! Ctrl-C, once for the whole process: also between runs, when nothing waits for it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::sync::Notify;

use crate::ExitStatus;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAITERS: Notify = Notify::const_new();

/// Listens from now on. The first Ctrl-C ends runs with a partial report, the second the process.
pub(crate) fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        // Without a listener Ctrl-C ends the process at once, as it does by default.
        let Ok(runtime) = runtime else { return };
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        thread::spawn(move || {
            runtime.block_on(async {
                let first = tokio::signal::ctrl_c();
                let mut first = std::pin::pin!(first);
                // Polled once, so that the handler is there.
                tokio::select! {
                    biased;
                    _ = &mut first => INTERRUPTED.store(true, Ordering::Relaxed),
                    () = std::future::ready(()) => {}
                }
                let _ = ready.send(());
                if !is_set() && first.await.is_err() {
                    return;
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
                WAITERS.notify_waiters();
                if tokio::signal::ctrl_c().await.is_ok() {
                    exit_at_once();
                }
            });
        });
        let _ = is_ready.recv();
    });
}

/// Whether Ctrl-C was pressed.
pub(crate) fn is_set() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Until Ctrl-C is pressed. Cancel-safe.
pub(crate) async fn wait() {
    let notified = WAITERS.notified();
    if !is_set() {
        notified.await;
    }
}

#[expect(clippy::exit, reason = "the second Ctrl-C: the user no longer wants the report")]
fn exit_at_once() -> ! {
    std::process::exit(i32::from(ExitStatus::Interrupted.code()))
}
