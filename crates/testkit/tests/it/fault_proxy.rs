use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use testkit::{
    Direction::{ToClient, ToServer},
    FaultProxy, eventually,
};

/// Enough for any machine; reached only by a failure.
const LONG: Duration = Duration::from_secs(20);
/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(100);

/// A server that sends back what it gets, and a proxy before it.
fn echo() -> FaultProxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    FaultProxy::start(addr).unwrap()
}

struct Client(TcpStream);

impl Client {
    fn of(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(stream)
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    fn gets(&mut self, text: &str) {
        let mut buffer = vec![0; text.len()];
        self.0.read_exact(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer), text);
    }

    fn gets_nothing(&mut self) {
        self.0.set_read_timeout(Some(SILENCE)).unwrap();
        let error = self.0.read(&mut [0]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        self.0.set_read_timeout(Some(LONG)).unwrap();
    }

    fn is_reset(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn bytes_and_ends_pass_and_are_counted() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    client.send("hello");
    client.gets("hello");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0, "the end of the stream comes back");
    let traffic = proxy.traffic();
    assert_eq!((traffic.connections, traffic.dropped), (1, 0));
    assert_eq!((traffic.to_server, traffic.to_client), (5, 5));
}

#[test]
fn much_passes_unchanged_in_both_directions_at_once() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let mut writer = client.0.try_clone().unwrap();
    let copy = sent.clone();
    let writing = thread::spawn(move || writer.write_all(&copy));
    let mut got = vec![0; sent.len()];
    client.0.read_exact(&mut got).unwrap();
    writing.join().unwrap().unwrap();
    assert!(got == sent);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures a real delay")]
fn a_delay_shifts_bytes_without_slowing_them_and_ends_when_healed() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    proxy.delay(ToClient, Duration::from_millis(100));
    let start = Instant::now();
    for n in 0..10 {
        client.send(&n.to_string());
        eventually(LONG, "the request is passed on", || proxy.traffic().to_server > n);
    }
    client.gets("0123456789");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(took < Duration::from_millis(900), "ten delays were added up: {took:?}");

    proxy.delay(ToServer, Duration::from_secs(3_600));
    client.send("late");
    client.gets_nothing();
    proxy.heal();
    client.gets("late");
}

#[test]
fn lost_answers_leave_the_requests_carried_out_and_the_connection_dead() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    proxy.drop_bytes(ToClient);
    client.send("applied");
    eventually(LONG, "the request is carried out", || proxy.traffic().dropped == 7);
    assert_eq!(proxy.traffic().to_server, 7);
    client.gets_nothing();
    proxy.heal();
    client.is_reset();
    let mut client = Client::of(proxy.addr());
    client.send("again");
    client.gets("again");
}

#[test]
fn lost_requests_never_reach_the_server() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    proxy.drop_bytes(ToServer);
    client.send("lost");
    eventually(LONG, "the request is swallowed", || proxy.traffic().dropped == 4);
    assert_eq!(proxy.traffic().to_server, 0);
    // The stream has a hole: what follows must not pass either, not even with another fault.
    proxy.delay(ToServer, Duration::ZERO);
    client.send("more");
    eventually(LONG, "so is the next", || proxy.traffic().dropped == 8);
}

#[test]
fn a_cut_resets_what_is_there_and_nothing_later() {
    let proxy = echo();
    let mut clients = [Client::of(proxy.addr()), Client::of(proxy.addr())];
    for client in &mut clients {
        client.send("x");
        client.gets("x");
    }
    proxy.cut();
    clients.iter_mut().for_each(Client::is_reset);
    let mut client = Client::of(proxy.addr());
    client.send("y");
    client.gets("y");
}

#[test]
fn a_cut_ends_a_connection_whose_bytes_are_held() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    proxy.delay(ToServer, Duration::from_secs(3_600));
    client.send("held");
    client.gets_nothing();
    proxy.cut();
    client.is_reset();
}

#[test]
fn refusals_are_those_of_a_port_without_listener() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    client.send("x");
    client.gets("x");
    for _ in 0..3 {
        proxy.refuse();
        let error = TcpStream::connect(proxy.addr()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        proxy.refuse();
        client.send("old");
        client.gets("old");
        proxy.heal();
        let mut new = Client::of(proxy.addr());
        new.send("new");
        new.gets("new");
    }
    assert_eq!(proxy.traffic().connections, 4, "those that were refused don't count");
}

#[test]
fn an_accepted_connection_may_stay_mute() {
    let proxy = echo();
    proxy.accept_only();
    let mut client = Client::of(proxy.addr());
    client.send("anyone?");
    eventually(LONG, "it is swallowed", || proxy.traffic().dropped == 7);
    client.gets_nothing();
    assert_eq!(proxy.traffic().to_server, 0);
    proxy.heal();
    client.is_reset();
}

#[test]
fn a_dropped_proxy_and_a_dead_server_reset_their_clients() {
    let proxy = echo();
    let mut client = Client::of(proxy.addr());
    client.send("x");
    client.gets("x");
    let addr = proxy.addr();
    drop(proxy);
    client.is_reset();
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = FaultProxy::start(nobody).unwrap();
    Client::of(proxy.addr()).is_reset();
}
