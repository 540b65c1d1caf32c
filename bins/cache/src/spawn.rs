//! A Redis of the binary's own, which it may kill and freeze.

use std::{
    env, fs, io,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use clock::{Clock, PreciseClock};
use rustix::process::{Pid, Signal, kill_process};

/// The oldest version with everything that the scripts use.
const OLDEST: (u32, u32) = (7, 2);
/// Below the range from which the system takes ports for outgoing connections.
const PORTS: (u16, u16) = (30_000, 2_000);
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Runs the server, tells its pid, and ends as soon as it ends. When the pipe to the binary closes, for whatever reason
/// that died, it ends the server and removes its folder.
const SUPERVISOR: &str = r#"
exec 2>>"$1/log"
folder=$1
shift
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

/// A server on loopback, with a folder and a process group of its own. It dies with this process, and with this value.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    port: u16,
    /// Of a node of a cluster, where it talks to the others.
    bus_port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    supervisor: Child,
    /// Keeps the supervisor, and with it the server, alive.
    _lifeline: ChildStdin,
    pid: Pid,
}

impl Server {
    /// Starts `program` on a free port, as a replica of `master` if there is one, and waits until it answers.
    pub(crate) fn start(program: &Path, arguments: &[&str], master: Option<&Self>) -> anyhow::Result<Self> {
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        if let Some(master) = master {
            arguments.extend(["--replicaof".to_owned(), format!("127.0.0.1 {}", master.port)]);
        }
        let server = Self::launched(program, arguments, 0)?;
        if let Some(master) = master {
            let linked = || master.ask("INFO replication").is_ok_and(|text| text.contains("state=online"));
            until(linked).with_context(|| format!("the replica at {} did not join", server.addr()))?;
        }
        Ok(server)
    }

    /// Starts a node of a cluster and waits until it answers.
    pub(crate) fn start_node(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let bus_port = free_port().context("no free port for a cluster")?;
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.extend(["--cluster-port".to_owned(), bus_port.to_string()]);
        Self::launched(program, arguments, bus_port)
    }

    fn launched(program: &Path, arguments: Vec<String>, bus_port: u16) -> anyhow::Result<Self> {
        let port = free_port().context("no free port for a server")?;
        let folder = env::temp_dir().join(format!("cache-{}-{port}", process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let dir = folder.to_string_lossy().into_owned();
        let fixed = format!("--bind 127.0.0.1 --port {port} --repl-diskless-sync-delay 0");
        let mut all: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
        all.extend(["--save", "", "--dir", &dir].map(str::to_owned));
        all.extend(arguments);
        let program = program.to_owned();
        let mut server = Self { program, arguments: all, folder, port, bus_port, running: None };
        server.launch()?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Ends it by SIGKILL and starts it again, on the same port and folder; returns when it answers.
    pub(crate) fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.launch()
    }

    /// Its connections stay open and nothing answers, until [`thaw`](Self::thaw).
    pub(crate) fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) const fn bus_port(&self) -> u16 {
        self.bus_port
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The answer to one command without arguments in quotes: a line, a number, or a text.
    pub(crate) fn ask(&self, command: &str) -> io::Result<String> {
        ask(self.addr(), command)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .args([&self.folder, &self.program])
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start /bin/sh")?;
        let (lifeline, stdout) = (supervisor.stdin.take(), supervisor.stdout.take());
        let (Some(lifeline), Some(stdout)) = (lifeline, stdout) else { bail!("a server without its pipes") };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("no pid of the server")?;
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).context("no pid of the server")?;
        self.running = Some(Running { supervisor, _lifeline: lifeline, pid });
        let addr = self.addr();
        until(|| ask(addr, "PING").is_ok_and(|answer| answer == "PONG")).with_context(|| {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            format!("{} does not answer at {addr}: {last}", self.program.display())
        })
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let running = self.running.as_ref().context("the server is down")?;
        kill_process(running.pid, signal).context("the server cannot be signalled")
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut running) = self.running.take() {
            // It ends when it has reaped the server, whose port is free then.
            running.supervisor.wait().context("the server did not end")?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Should that fail, the lifeline is cut next, and the supervisor does the rest.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program: `given`, or one of the path, or what `scripts/backends` fetched.
pub(crate) fn find(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(given) = given {
        return match version(given) {
            Some(version) if version >= OLDEST => Ok(given.to_owned()),
            Some((major, minor)) => Err(format!("{} is {major}.{minor}; 7.2 is needed", given.display())),
            None => Err(format!("{} is no redis-server", given.display())),
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let fetched = [Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.backends/bin"), ".backends/bin".into()];
    env::split_paths(&path)
        .chain(fetched)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| version(program).is_some_and(|version| version >= OLDEST))
        .ok_or_else(|| {
            "no redis-server or valkey-server of 7.2 or later on the path; name one by --redis-server, or run: \
             scripts/backends up redis"
                .to_owned()
        })
}

fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_once("v=")?.1.split(['.', ' ']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// One that nothing listens on; nobody else is kept from taking it before the server does.
fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let (first, count) = PORTS;
    // Two that start one after the other are further apart than a cluster takes ports.
    let start = (process::id().wrapping_mul(37) % u32::from(count)) as u16;
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = first + (start.wrapping_add(step)) % count;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "all ports from 30000 to 31999 are taken"))
}

pub(crate) fn until(mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let clock = PreciseClock::new();
    let began = clock.now();
    while !holds() {
        if clock.now().since(began) > PATIENCE {
            bail!("not within {PATIENCE:?}");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn ask(addr: SocketAddr, command: &str) -> io::Result<String> {
    let deadline = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&addr, deadline)?;
    stream.set_read_timeout(Some(deadline))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.trim_end().split_at_checked(1) {
        Some(("+" | ":", text)) => Ok(text.to_owned()),
        Some(("$", length)) => {
            let mut text = vec![0; length.parse().map_err(io::Error::other)?];
            reader.read_exact(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        _ => Err(io::Error::other(line)),
    }
}
