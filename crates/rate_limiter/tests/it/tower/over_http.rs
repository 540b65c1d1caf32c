//! The example as a server, asked over connections of its own.

#[path = "../../../examples/axum_api.rs"]
#[expect(dead_code, reason = "its main function is not called here")]
mod example;

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

struct Connection(BufReader<TcpStream>);

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Connection {
    async fn to(server: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(server).await.unwrap()))
    }

    async fn get(&mut self, path: &str, fields: &str) -> Reply {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).await.unwrap() > 0, "closed after {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head: head.to_lowercase(), body: String::new() };
        let mut body = vec![0; reply.field("content-length").unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply
    }
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

#[tokio::test]
async fn a_server_limits_over_all_connections() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = example::router().unwrap().into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    let mut connections = [Connection::to(address).await, Connection::to(address).await];
    for turn in 0..5_usize {
        let reply = connections[turn % 2].get("/", "").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello\n"), "{turn}");
        assert_eq!(reply.field("ratelimit-policy"), Some("\"free\";q=5;w=60"));
        let told = format!("\"free\";r={};", 4 - turn);
        assert!(reply.field("ratelimit").unwrap().starts_with(&told), "{}", reply.head);
    }
    for connection in &mut connections {
        let reply = connection.get("/", "").await;
        assert_eq!(reply.status, 429);
        assert_eq!(reply.field("content-type"), Some("application/problem+json"));
        let seconds: u64 = reply.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=12).contains(&seconds), "{seconds}");
        assert_eq!(reply.field("ratelimit"), Some(&*format!("\"free\";r=0;t={seconds}")));
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["status"], 429);
        assert_eq!(body["violated-policies"][0], "free");
    }
    let [one, other] = &mut connections;
    assert_eq!(one.get("/health", "").await.status, 200);
    // The proxy on this machine serves somebody else, who claims to be a third.
    let fields = "x-forwarded-for: 203.0.113.1, 198.51.100.7\r\n";
    assert_eq!(one.get("/report", fields).await.status, 413);
    for turn in 0..6 {
        let fields = format!("x-forwarded-for: 203.0.113.{turn}, 198.51.100.7\r\n");
        assert_eq!(other.get("/", &fields).await.status, if turn < 5 { 200 } else { 429 });
    }
    let reply = one.get("/report", "x-api-key: gold-1\r\n").await;
    assert_eq!((reply.status, reply.field("ratelimit-policy")), (200, Some("\"gold\";q=100;w=1")));
    assert!(reply.field("ratelimit").unwrap().starts_with("\"gold\";r=190;t=2"), "{}", reply.head);
    assert_eq!(one.get("/", "x-api-key: made-up\r\n").await.status, 429);

    drop(connections);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
