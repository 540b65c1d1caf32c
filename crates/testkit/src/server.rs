use std::{
    fmt, fs, io,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Scratch, wait::poll};

mod cluster;
pub(crate) mod port;
mod redis;
mod reply;

pub use self::cluster::{RedisCluster, RedisClusterBuilder};
pub use self::redis::{RedisBuilder, RedisServer, Role};
pub use self::reply::Reply;

use port::Port;

/// How long a server may take to answer after its start, and to end when asked to.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the server, tells its pid, and ends as soon as it ends. When the pipe to the test closes, for
/// whatever reason the test died, even by SIGKILL, it ends the server and removes its folder.
///
/// A parent-death signal would not do: it fires when the thread that spawned the server ends. SIGHUP is
/// what the kernel sends to a group with a frozen member when the test dies.
const SUPERVISOR: &str = r#"
exec 2>>"$1"
folder=$2
shift 2
trap '' HUP
exec 3<&0
"$@" </dev/null >&2 3<&- &
server=$!
echo $server
{ read -r _ <&3; kill -9 $$ $server; rm -rf "$folder"; kill -9 0; } >&2 &
exec >&2 3<&-
wait $server
kill -9 0
"#;

/// A real server process of a test's own: on loopback, on a port that no other test has, with a data
/// folder of its own, in a process group of its own. It dies with the test, and with this value.
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    ready: Ready,
    port: Port,
    scratch: Scratch,
    running: Option<Running>,
}

/// Succeeds when the server at the address answers a real request.
type Ready = fn(SocketAddr) -> io::Result<()>;

struct Running {
    supervisor: Child,
    /// Keeps the supervisor, and with it the server, alive.
    _lifeline: ChildStdin,
    server: Pid,
}

impl Server {
    /// Starts `program` with the arguments that `arguments` makes of a free port and an empty data
    /// folder, and waits until `ready` succeeds.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not answer within 30 s; the text has the end of its log.
    pub fn start(
        program: impl Into<PathBuf>,
        arguments: impl FnOnce(u16, &Path) -> Vec<String>,
        ready: fn(SocketAddr) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (port, scratch) = (Port::lock()?, Scratch::new()?);
        let data = scratch.path().join("data");
        fs::create_dir(&data)?;
        let arguments = arguments(port.number(), &data);
        let mut server = Self { program: program.into(), arguments, ready, port, scratch, running: None };
        server.launch()?;
        Ok(server)
    }

    /// Where it listens, also while it is down.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    /// The process, unless it was ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.server.as_raw_nonzero().get().unsigned_abs())
    }

    /// What it prints. Removed with the server, unless the test panics.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    /// Ends it by SIGKILL, as a crash would; returns when it is gone. Its data stays.
    ///
    /// # Errors
    ///
    /// When it is down already, or outlives the signal.
    pub fn kill(&mut self) -> io::Result<()> {
        self.end(Signal::KILL)
    }

    /// Asks it to end by SIGTERM, so that it may save; returns when it is gone.
    ///
    /// # Errors
    ///
    /// When it is down already, or still there after 30 s.
    pub fn terminate(&mut self) -> io::Result<()> {
        self.end(Signal::TERM)
    }

    /// Stops it by SIGSTOP: its connections stay open and nothing answers, until
    /// [`thaw`](Self::thaw).
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    ///
    /// # Errors
    ///
    /// When it is down.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Starts it again on the same port and data, after a kill if it still runs, and waits until it
    /// answers.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not answer within 30 s; the text has the end of its log.
    pub fn restart(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            self.kill()?;
        }
        self.launch()
    }

    fn launch(&mut self) -> io::Result<()> {
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .args([&self.log(), self.scratch.path(), &self.program])
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(lifeline), Some(stdout)) = (supervisor.stdin.take(), supervisor.stdout.take()) else {
            unreachable!("both are piped");
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let server = line.trim().parse().ok().and_then(Pid::from_raw);
        let server = server.ok_or_else(|| self.failed("no pid from its supervisor"))?;
        self.running = Some(Running { supervisor, _lifeline: lifeline, server });
        let (addr, ready) = (self.addr(), self.ready);
        let answered = poll(DEADLINE, || match self.ended() {
            Ok(true) => Ok(Err("it ended".to_owned())),
            _ => ready(addr).map(Ok),
        });
        match answered {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(error) => Err(self.failed(&format!("no answer within {DEADLINE:?}: {error}"))),
        }
    }

    /// Whether the process ended by itself.
    fn ended(&mut self) -> io::Result<bool> {
        self.running.as_mut().map_or(Ok(true), |running| Ok(running.supervisor.try_wait()?.is_some()))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let running = self.running.as_ref().ok_or_else(|| self.failed("it is down"))?;
        Ok(kill_process(running.server, signal)?)
    }

    fn end(&mut self, signal: Signal) -> io::Result<()> {
        self.signal(signal)?;
        // The supervisor ends when it has reaped the server, whose port is free then.
        poll(DEADLINE, || match self.ended() {
            Ok(true) => Ok(()),
            _ => Err(()),
        })
        .map_err(|()| self.failed(&format!("still there {DEADLINE:?} after {signal:?}")))?;
        self.running = None;
        Ok(())
    }

    fn failed(&self, what: &str) -> io::Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(5).collect();
        let end = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        let program = self.program.display();
        io::Error::other(format!("{program} at {}: {what}; the end of its log:\n  {end}", self.addr()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Should that fail, the lifeline is cut next, and the supervisor does the rest.
        let _ = self.kill();
        if thread::panicking() {
            let kept = std::env::temp_dir().join(format!("testkit-{}.log", self.port.number()));
            if fs::copy(self.log(), &kept).is_ok() {
                let note = format!("the log of {} is kept in {}\n", self.program.display(), kept.display());
                let _ = io::stderr().write_all(note.as_bytes());
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("program", &self.program)
            .field("addr", &self.addr())
            .field("pid", &self.pid())
            .field("log", &self.log())
            .finish_non_exhaustive()
    }
}
