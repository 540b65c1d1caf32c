//! Real servers of a test's own, where their programs are found.

use std::{
    env,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use testkit::{Backend, Direction, Failed, FaultProxy, RedisCluster, RedisServer, Setup, Suite, eventually};

/// Set in a child that starts a server and waits to be killed: the program.
const VICTIM: &str = "TESTKIT_VICTIM";
const LONG: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if let Ok(program) = env::var(VICTIM) {
        return victim(&program);
    }
    let setup =
        |backend| Setup::compiled(|case: &Case, program| (case.1)(program)).at(RedisServer::find(backend));
    Suite::new(CASES.to_vec(), |case| case.0)
        .on(Backend::Redis, setup(Backend::Redis))
        .on(Backend::Valkey, setup(Backend::Valkey))
        .main()
}

#[derive(Clone, Copy)]
struct Case(&'static str, fn(&str) -> Result<(), Failed>);

const CASES: &[Case] = &[
    Case("a_killed_server_comes_back_with_its_data_at_the_same_address", |program| {
        let mut redis = RedisServer::builder(program).arg("--appendfsync").arg("always").start()?;
        let addr = redis.addr();
        ask(addr, "SET k v", "+OK")?;
        let first = redis.pid();
        redis.kill()?;
        let refused = TcpStream::connect(addr).map_err(|error| error.kind()).err();
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
        assert_eq!(redis.pid(), None);
        assert!(redis.kill().is_err());
        redis.restart()?;
        assert_eq!(redis.addr(), addr);
        assert_ne!(redis.pid(), first);
        ask(addr, "GET k", "$1")?;
        redis.terminate()?;
        redis.restart()?;
        redis.restart()?;
        ask(addr, "GET k", "$1")
    }),
    Case("a_frozen_server_keeps_its_connections_and_answers_later", |program| {
        let redis = RedisServer::builder(program).start()?;
        let mut stream = TcpStream::connect(redis.addr())?;
        redis.freeze()?;
        stream.write_all(b"PING\r\n")?;
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        assert_eq!(stream.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        redis.thaw()?;
        stream.set_read_timeout(Some(LONG))?;
        assert_eq!(line(&mut stream)?, "+PONG");
        Ok(())
    }),
    Case("a_frozen_server_can_be_killed", |program| {
        let mut redis = RedisServer::builder(program).start()?;
        redis.freeze()?;
        redis.kill()?;
        Ok(redis.restart()?)
    }),
    Case("a_replica_follows_its_master", |program| {
        let master = RedisServer::builder(program).start()?;
        let replica = RedisServer::builder(program).replica_of(master.addr()).start()?;
        ask(master.addr(), "SET k v", "+OK")?;
        eventually(LONG, "the replica has the key", || ask(replica.addr(), "GET k", "$1").is_ok());
        ask(replica.addr(), "SET k w", "-READONLY You can't write against a read only replica.")
    }),
    Case("dropped_replicas_have_what_was_written_before_and_no_more", |program| {
        let master = RedisServer::builder(program).start()?;
        let replica = RedisServer::builder(program).replica_of(master.addr()).start()?;
        eventually(LONG, "the replica is linked", || replica.role().is_ok_and(|role| role.is_linked));
        master.ask(&["SET", "before", "v"])?;
        eventually(LONG, "it has the key", || {
            replica.ask(&["GET", "before"]).is_ok_and(|got| got.text() == "v")
        });
        master.drop_replicas()?;
        master.ask(&["SET", "after", "v"])?;
        // Tried again and again, and refused.
        let refused = || master.ask(&["ACL", "LOG"]).is_ok_and(|log| log.items().len() >= 2);
        eventually(LONG, "the replica is refused", refused);
        assert!(!replica.role()?.is_linked);
        assert_eq!(replica.ask(&["EXISTS", "before", "after"])?.integer(), Some(1));
        Ok(())
    }),
    Case("a_cluster_moves_slots_and_replaces_a_master", |program| {
        let cluster = RedisCluster::builder(program).replicas(1);
        let mut cluster = cluster.arg("--appendonly").arg("no").start()?;
        let slot = cluster.slot("k")?;
        let (from, to) = (cluster.first_master(slot), (cluster.first_master(slot) + 1) % 3);
        for n in 0..10 {
            cluster.node(from).ask(&["SET", &format!("{{k}}{n}"), "v"])?;
        }
        cluster.move_slot(slot, from, to)?;
        assert_eq!(cluster.node(to).ask(&["GET", "{k}9"])?.text(), "v");
        let moved = cluster.node(from).ask(&["GET", "{k}9"]).map_err(|error| error.to_string());
        assert!(moved.is_err_and(|error| error.starts_with("MOVED")) && cluster.errors("MOVED")? == 1);
        let role = cluster.node(to).role()?;
        let replica = cluster.replica_of(to);
        eventually(LONG, "the replica has it all", || {
            cluster.node(replica).role().is_ok_and(|role_of| role_of.offset >= role.offset)
        });
        assert!(role.is_master && role.offset > 0 && !cluster.node(replica).role()?.is_master);
        cluster.set_node_timeout(Duration::from_secs(1))?;
        cluster.node_mut(to).kill()?;
        eventually(LONG, "the replica is promoted", || {
            cluster.node(replica).role().is_ok_and(|role| role.is_master)
        });
        assert_eq!(cluster.node(replica).ask(&["GET", "{k}9"])?.text(), "v");
        Ok(())
    }),
    Case("a_server_leaves_nothing_behind", |program| {
        let redis = RedisServer::builder(program).start()?;
        let (addr, log, pid) = (redis.addr(), redis.log(), redis.pid());
        assert!(log.exists());
        drop(redis);
        assert!(!log.parent().is_some_and(Path::exists));
        assert!(!alive(pid));
        assert!(TcpStream::connect(addr).is_err());
        Ok(())
    }),
    Case("a_server_dies_with_a_test_that_is_killed", |program| killed_test(program, false)),
    Case("a_frozen_server_dies_with_a_test_that_is_killed", |program| killed_test(program, true)),
    Case("answers_are_lost_and_writes_applied", |program| {
        let redis = RedisServer::builder(program).start()?;
        let proxy = FaultProxy::start(redis.addr())?;
        ask(proxy.addr(), "SET k v", "+OK")?;
        let mut stream = TcpStream::connect(proxy.addr())?;
        proxy.drop_bytes(Direction::ToClient);
        stream.write_all(b"INCR n\r\n")?;
        eventually(LONG, "the answer is swallowed", || proxy.traffic().dropped > 0);
        ask(redis.addr(), "GET n", "$1")?;
        proxy.heal();
        assert_eq!(stream.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
        ask(proxy.addr(), "INCR n", ":2")
    }),
];

/// Starts a server, tells of it, and waits for its end.
fn victim(program: &str) -> ExitCode {
    let started = RedisServer::builder(program).start();
    let Ok(redis) = started else { return ExitCode::FAILURE };
    if env::args().any(|argument| argument == "freeze") && redis.freeze().is_err() {
        return ExitCode::FAILURE;
    }
    let told = format!("{} {}\n", redis.pid().unwrap_or_default(), redis.log().display());
    let _ = std::io::stdout().write_all(told.as_bytes());
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

fn killed_test(program: &str, freeze: bool) -> Result<(), Failed> {
    let mut child = Command::new(env::current_exe()?)
        .args(freeze.then_some("freeze"))
        .env(VICTIM, program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut told = String::new();
    BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut told)?;
    let (pid, log) = told.trim().split_once(' ').ok_or("the child told nothing")?;
    let pid: u32 = pid.parse()?;
    assert!(alive(Some(pid)));
    child.kill()?;
    child.wait()?;
    eventually(LONG, "the server is gone", || !alive(Some(pid)));
    eventually(LONG, "its folder is gone", || !Path::new(log).parent().is_some_and(Path::exists));
    Ok(())
}

fn alive(pid: Option<u32>) -> bool {
    let pid = pid.map_or_else(String::new, |pid| pid.to_string());
    // A zombie that nobody has waited for yet is dead.
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid]).output();
    state.is_ok_and(|output| output.stdout.first().is_some_and(|state| *state != b'Z'))
}

/// Sends an inline command and compares the first line of the answer.
fn ask(addr: SocketAddr, command: &str, answer: &str) -> Result<(), Failed> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let got = line(&mut stream)?;
    if got == answer { Ok(()) } else { Err(format!("{command}: {got}, not {answer}").into()) }
}

fn line(stream: &mut TcpStream) -> Result<String, Failed> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
