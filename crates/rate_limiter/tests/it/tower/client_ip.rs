//! Whose address counts, whatever a client writes into its request.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, Request};
use rate_limiter::{ErrorKind, tower::ClientIp};

const PROXIES: [&str; 3] = ["10.0.0.0/8", "192.0.2.1", "2001:db8:aaaa::/48"];

/// The client of a request from `peer` with these lines of `field`.
fn of(ip: &ClientIp, peer: &str, field: &'static str, lines: &[&[u8]]) -> String {
    let mut request = Request::new(());
    request.extensions_mut().insert(SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 4_711));
    for line in lines {
        request.headers_mut().append(field, HeaderValue::from_bytes(line).unwrap());
    }
    ip.of(&request).unwrap().to_string()
}

#[test]
fn only_what_listed_proxies_saw_is_believed() {
    let ip = ClientIp::trusting(PROXIES).unwrap();
    let check = |peer: &str, lines: &[&[u8]], client: &str| {
        let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(of(&ip, peer, "x-forwarded-for", lines), client, "{shown:?} from {peer}");
    };
    // Nobody but a proxy may say anything.
    check("203.0.113.5", &[], "203.0.113.5");
    check("203.0.113.5", &[b"198.51.100.7"], "203.0.113.5");
    check("203.0.113.5", &[b"10.0.0.1"], "203.0.113.5");
    // One proxy, two, and a proxy alone.
    check("10.0.0.1", &[b"198.51.100.7"], "198.51.100.7");
    check("10.0.0.1", &[b"198.51.100.7, 192.0.2.1"], "198.51.100.7");
    check("10.0.0.1", &[], "10.0.0.1");
    check("10.0.0.1", &[b"10.0.0.2,10.0.0.3"], "10.0.0.2");
    // What the client sent stands on the left, in the same line or in one before.
    check("10.0.0.1", &[b"6.6.6.6, 198.51.100.7"], "198.51.100.7");
    check("10.0.0.1", &[b"10.9.9.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7");
    check("10.0.0.1", &[b"6.6.6.6", b"198.51.100.7"], "198.51.100.7");
    check("10.0.0.1", &[b"6.6.6.6, 198.51.100.7", b"10.0.0.2"], "198.51.100.7");
    check("10.0.0.1", &[b"\xff\xfe, \", 198.51.100.7"], "198.51.100.7");
    // What cannot be read ends the walk at the proxy that passed it on.
    for garbage in [
        &b"6.6.6.6, nonsense"[..],
        b"6.6.6.6, ",
        b"6.6.6.6,",
        b"6.6.6.6, unknown",
        b"6.6.6.6, 1.2.3",
        b"6.6.6.6, 1.2.3.4.5",
        b"6.6.6.6, 1.2.3.4:99999",
        b"6.6.6.6, 1.2.3.4 5.6.7.8",
        b"6.6.6.6, \xff",
        b"6.6.6.6, [::1",
        b"6.6.6.6, [1.2.3.4]",
        b"6.6.6.6, [fe80::1%2]:80",
        b"",
    ] {
        check("10.0.0.1", &[garbage], "10.0.0.1");
    }
    check("10.0.0.1", &[b"6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2");
    check("10.0.0.1", &[b"6.6.6.6, nonsense", b"10.0.0.2"], "10.0.0.2");
    // Forms of an address.
    check("10.0.0.1", &[b"198.51.100.7:1234"], "198.51.100.7");
    check("10.0.0.1", &[b"[2001:db8:1:2:3::4]:80"], "2001:db8:1:2::");
    check("10.0.0.1", &[b"[::ffff:198.51.100.7]:80"], "198.51.100.7");
    check("10.0.0.1", &[b"[::ffff:198.51.100.7]"], "198.51.100.7");
    check("10.0.0.1", &[b"[2001:db8:1:2:3::4]"], "2001:db8:1:2::");
    check("10.0.0.1", &[b"\t2001:db8:1:2:3::4 "], "2001:db8:1:2::");
    check("::ffff:10.0.0.1", &[b"::ffff:198.51.100.7, ::ffff:192.0.2.1"], "198.51.100.7");
    check("2001:db8:aaaa::1", &[b"198.51.100.7"], "198.51.100.7");
    check("2001:db8:aaab::1", &[b"198.51.100.7"], "2001:db8:aaab::");
    check("192.0.2.2", &[b"198.51.100.7"], "192.0.2.2");
}

#[test]
fn forwarded_is_read_instead_where_it_is_asked_for() {
    let ip = ClientIp::trusting(PROXIES).unwrap().forwarded();
    let check = |lines: &[&[u8]], client: &str| {
        let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(of(&ip, "10.0.0.1", "forwarded", lines), client, "{shown:?}");
    };
    check(&[b"for=198.51.100.7"], "198.51.100.7");
    check(&[b"for=6.6.6.6, for=198.51.100.7;proto=https;by=10.0.0.1"], "198.51.100.7");
    check(&[b"proto=https; FOR=\"198.51.100.7:443\""], "198.51.100.7");
    check(&[b"for=\"[2001:db8:1:2:3::4]:80\", for=10.0.0.2"], "2001:db8:1:2::");
    // A quote that the client left open does not swallow what the proxy added.
    check(&[b"for=\"6.6.6.6, for=198.51.100.7"], "198.51.100.7");
    check(&[b"for=\"6.6.6.6", b"for=198.51.100.7"], "198.51.100.7");
    check(&[b"for=6.6.6.6;x=\", for=198.51.100.7;host=\"a,b\""], "198.51.100.7");
    // Neither here nor hidden: the proxy itself.
    for garbage in [
        &b"for=unknown"[..],
        b"for=_secret",
        b"proto=https",
        b"for=6.6.6.6;for=7.7.7.7",
        b"for=\"6.6.6.6",
        b"for=6.6.6.6;x=\"",
        b"6.6.6.6",
        b"",
    ] {
        check(&[garbage], "10.0.0.1");
    }
    assert_eq!(of(&ip, "10.0.0.1", "x-forwarded-for", &[b"6.6.6.6"]), "10.0.0.1", "the other field");
    let ip = ClientIp::trusting(PROXIES).unwrap();
    assert_eq!(of(&ip, "10.0.0.1", "forwarded", &[b"for=6.6.6.6"]), "10.0.0.1", "the other field");
}

#[test]
fn ipv6_clients_are_known_by_their_network() {
    let check = |ip: ClientIp, peer: &str, client: &str| assert_eq!(of(&ip, peer, "x", &[]), client);
    check(ClientIp::direct(), "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    check(ClientIp::direct(), "203.0.113.5", "203.0.113.5");
    check(ClientIp::direct(), "::ffff:203.0.113.5", "203.0.113.5");
    check(ClientIp::direct().ipv6_prefix(48), "2001:db8:1:2::3", "2001:db8:1::");
    check(ClientIp::direct().ipv6_prefix(128), "2001:db8:1:2::3", "2001:db8:1:2::3");
    check(ClientIp::direct().ipv6_prefix(255), "2001:db8:1:2::3", "2001:db8:1:2::3");
    check(ClientIp::direct().ipv6_prefix(0), "2001:db8:1:2::3", "::");
}

#[test]
fn the_address_of_the_connection_may_be_elsewhere_or_nowhere() {
    let mut request = Request::new(());
    assert_eq!(ClientIp::direct().of(&request), None);
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    assert_eq!(ClientIp::trusting(["0.0.0.0/0"]).unwrap().of(&request), None);
    request.extensions_mut().insert(IpAddr::from([203, 0, 113, 5]));
    let ip = ClientIp::direct().peer(|extensions| extensions.get::<IpAddr>().copied());
    assert_eq!(ip.of(&request), Some([203, 0, 113, 5].into()));
    assert_eq!(ip.ipv6_prefix(48).of(&request), Some([203, 0, 113, 5].into()));
}

#[test]
fn blocks_that_are_none() {
    for block in [
        "",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0/8",
        "10.0.0.0/8/8",
        "10.0.0.1/8",
        "::/129",
        "2001:db8::1/32",
        "::ffff:10.0.0.0/104",
        "proxy.example",
    ] {
        let error = ClientIp::trusting([block]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{block}");
    }
    ClientIp::trusting(["0.0.0.0/0", "::/0", "10.0.0.1/32", "::1/128", "::1"]).unwrap();
    ClientIp::trusting(Vec::<String>::new()).unwrap();
}
