//! Processes with clocks of their own, which share one quota.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    env,
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use testkit::RedisServer;

use super::load::{Load, Outcome, connect, limit, tell};

/// Set in a child: the server.
const SERVER: &str = "RATE_LIMITER_TEST_SERVER";
/// Set in a child: how many seconds its clocks are ahead.
const AHEAD: &str = "RATE_LIMITER_TEST_AHEAD";
const HOUR: u64 = 3_600;
/// Whoever believes a clock that is an hour ahead finds 100 tokens more; by one clock the first flows in after 36 s.
const QUOTA: &str = "100/h burst 10000";
const BURST: u64 = 10_000;

/// The clocks of this process, which a child sets ahead.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[expect(unsafe_code, reason = "every clock of the process, whoever reads it, reads here")]
mod clocks {
    use std::{
        ffi::c_int,
        sync::atomic::{AtomicI64, Ordering},
    };

    use rustix::time::{ClockId, Timespec, clock_gettime as of_the_kernel};

    pub(super) static AHEAD: AtomicI64 = AtomicI64::new(0);

    /// Stands before the function of that name in the C library, for the standard library, too.
    ///
    /// # Safety
    ///
    /// `time` is null or can be written to, as for that function.
    // SAFETY: it has the signature of the function that it stands for.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(id: c_int, time: *mut Timespec) -> c_int {
        let Ok(id) = ClockId::try_from(id) else { return -1 };
        let mut now = of_the_kernel(id);
        now.tv_sec += AHEAD.load(Ordering::Relaxed);
        // SAFETY: it is null or can be written to, and has the layout that the kernel knows.
        unsafe { time.as_mut() }.map_or(-1, |time| {
            *time = now;
            0
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "whether the clock of this very process was set")]
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A process that asks for tokens until there are none.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(server: &RedisServer, ahead: u64) -> Result<Self, testkit::Failed> {
        let mut child = Command::new(env::current_exe()?)
            .env(SERVER, server.url())
            .env(AHEAD, ahead.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, input, output: BufReader::new(output).lines() })
    }

    /// The next number that it tells.
    fn told(&mut self) -> Result<u64, testkit::Failed> {
        Ok(self.output.next().ok_or("it ended")??.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a child, or `None` in a process that is none.
pub(crate) fn child() -> Option<ExitCode> {
    let (server, ahead) = (env::var(SERVER).ok()?, env::var(AHEAD).ok()?.parse().ok()?);
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    clocks::AHEAD.store(ahead, std::sync::atomic::Ordering::Relaxed);
    let _: i64 = ahead;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().ok()?;
    let asked = runtime.block_on(async {
        let store = Arc::new(connect(&server).await?);
        tell_parent(clock())?;
        std::io::stdin().read_line(&mut String::new())?;
        let load = Load::start(&store, "shared", &limit(QUOTA));
        load.until(|load| load.denied() > 0 || load.failed() > 0).await;
        let totals = load.stop().await;
        assert_eq!(totals.failed, 0);
        tell_parent(totals.granted)
    });
    Some(if asked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell_parent(number: u64) -> Outcome {
    Ok(writeln!(std::io::stdout(), "{number}")?)
}

pub(crate) fn share(server: &RedisServer) -> Outcome {
    let mut processes = [Process::start(server, 0)?, Process::start(server, HOUR)?];
    let mut clocks = Vec::new();
    for process in &mut processes {
        clocks.push(process.told()?);
    }
    let ahead = Duration::from_secs(clocks[1].saturating_sub(clocks[0]));
    assert!(ahead.as_secs().abs_diff(HOUR) < 60, "the clock is {ahead:?} ahead");
    // Both at once.
    for process in &mut processes {
        writeln!(process.input.as_mut().ok_or("no pipe")?)?;
    }
    let mut granted = Vec::new();
    for process in &mut processes {
        granted.push(process.told()?);
        assert!(process.child.wait()?.success());
    }
    tell(&format!("{granted:?} granted to two processes, {ahead:?} apart"));
    assert_eq!(granted.iter().sum::<u64>(), BURST);
    assert!(granted.iter().all(|granted| *granted > 0), "one had nothing to share");
    Ok(())
}
