use std::{
    env, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    Server,
    port::Port,
    reply::{Reply, ask},
};
use crate::{Backend, backend::backends_home};

/// The oldest version with everything that the scripts use.
const OLDEST: (u32, u32) = (7, 2);

/// A Redis or Valkey of a test's own, with an append-only file, so that a kill and a restart lose no
/// more than its fsync policy allows.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    bus: Option<Port>,
}

/// What a [`RedisServer`] is started with.
#[derive(Debug)]
pub struct RedisBuilder {
    program: PathBuf,
    arguments: Vec<String>,
    is_node: bool,
}

/// A server's part in replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// It takes writes.
    pub is_master: bool,
    /// It is a master, or receives what its master writes.
    pub is_linked: bool,
    /// What it has written, or received, in bytes of the stream of its master; 0 where it forgot.
    pub offset: u64,
}

impl RedisServer {
    /// The program of [`Backend::Redis`] or [`Backend::Valkey`]: the one that `REDIS_SERVER_BIN` or
    /// `VALKEY_SERVER_BIN` names, else one of `PATH` that is 7.2 or later, else the one that
    /// `scripts/backends` fetched.
    ///
    /// # Errors
    ///
    /// Why there is none, and what to do, in one line; as [`Setup::at`](crate::Setup::at) takes it.
    pub fn find(backend: Backend) -> Result<String, String> {
        let name = if backend == Backend::Valkey { "valkey" } else { "redis" };
        let program = format!("{name}-server");
        let variable = format!("{}_SERVER_BIN", name.to_uppercase());
        if let Some(explicit) = env::var_os(&variable) {
            return Ok(explicit.to_string_lossy().into_owned());
        }
        let home = env::var_os("BACKENDS_HOME").map_or_else(backends_home, PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join(&program))
            .chain([home.join("bin").join(&program)])
            .find(|candidate| version(candidate).is_some_and(|version| version >= OLDEST))
            .map(|found| found.to_string_lossy().into_owned())
            .ok_or_else(|| format!("no {program} >= 7.2: set {variable}, or scripts/backends up {name}"))
    }

    /// To start `program`, as [`find`](Self::find) gives it.
    pub fn builder(program: impl Into<PathBuf>) -> RedisBuilder {
        RedisBuilder { program: program.into(), arguments: Vec::new(), is_node: false }
    }

    /// Where the other nodes of a cluster reach it, or `None` without [`RedisBuilder::cluster_node`].
    #[must_use]
    pub fn bus_port(&self) -> Option<u16> {
        self.bus.as_ref().map(Port::number)
    }

    /// Sends one command over a connection of its own.
    ///
    /// # Errors
    ///
    /// When it is out of reach, or replies an error.
    pub fn ask(&self, words: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        ask(self.addr(), words)
    }

    /// Its part in replication.
    ///
    /// # Errors
    ///
    /// When it is out of reach.
    pub fn role(&self) -> io::Result<Role> {
        let role = self.ask(&["ROLE"])?;
        let items = role.items();
        let is_master = items.first().is_some_and(|name| name.text() == "master");
        let offset = items.get(if is_master { 1 } else { 4 }).and_then(Reply::integer);
        let is_linked = is_master || items.get(3).is_some_and(|state| state.text() == "connected");
        Ok(Role { is_master, is_linked, offset: offset.and_then(|it| u64::try_from(it).ok()).unwrap_or(0) })
    }

    /// Cuts the links of its replicas and lets none come back: they have what it wrote before and nothing of what
    /// it writes now, while clients notice nothing. To freeze a replica is less, as its socket goes on receiving.
    ///
    /// # Errors
    ///
    /// When it is out of reach.
    pub fn drop_replicas(&self) -> io::Result<()> {
        self.ask(&["ACL", "SETUSER", "default", "-psync", "-sync"])?;
        self.ask(&["CLIENT", "KILL", "TYPE", "replica"]).map(drop)
    }

    /// A `redis://` URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.server.addr())
    }
}

impl RedisBuilder {
    /// Adds an argument, for example `--appendfsync` or `always`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Makes it a replica of `master`.
    #[must_use]
    pub fn replica_of(self, master: SocketAddr) -> Self {
        let link = format!("{} {}", master.ip(), master.port());
        self.arg("--replicaof").arg(link)
    }

    /// Makes it a node of a cluster, which it has still to meet. Its bus has a port of its own, since the
    /// usual one, 10,000 above, may be anybody's.
    #[must_use]
    pub fn cluster_node(mut self, node_timeout: Duration) -> Self {
        self.is_node = true;
        let timeout = node_timeout.as_millis().to_string();
        self.arg("--cluster-enabled").arg("yes").arg("--cluster-node-timeout").arg(timeout)
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// As those of [`Server::start`].
    pub fn start(self) -> io::Result<RedisServer> {
        let bus = self.is_node.then(Port::lock).transpose()?;
        let bus_port = bus.as_ref().map(|port| ["--cluster-port".to_owned(), port.number().to_string()]);
        let arguments = |port: u16, data: &Path| {
            let data = data.to_string_lossy();
            // A replica is served at once, not after the pause in which others might join it.
            let own =
                format!("--bind 127.0.0.1 --port {port} --appendonly yes --repl-diskless-sync-delay 0 --dir");
            let own = own.split(' ').chain([&*data, "--save", ""]).map(str::to_owned);
            own.chain(self.arguments).chain(bus_port.into_iter().flatten()).collect()
        };
        Ok(RedisServer { server: Server::start(self.program, arguments, ping)?, bus })
    }
}

impl Deref for RedisServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// An error also while the server loads its data.
fn ping(addr: SocketAddr) -> io::Result<()> {
    let deadline = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&addr, deadline)?;
    stream.set_read_timeout(Some(deadline))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if &answer == b"+PONG\r\n" {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
    }
}

/// Major and minor version, or `None` if it does not run.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_once("v=")?.1.split(['.', ' ']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(parse_version(redis), Some((7, 0)));
        assert_eq!(parse_version("Valkey server v=9.1.2 sha=0"), Some((9, 1)));
        assert_eq!(parse_version("bash 5"), None);
        assert!(parse_version(redis) < Some(OLDEST));
    }
}
