//! What a server gives at the most: `GET` of the same payload, pipelined on one connection, without a driver.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use clock::{Clock, PreciseClock};

use crate::Ceiling;

/// How long the bare loop runs.
const TIME: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);

/// Measures the first server of `url` for half a second, with `in_flight` requests at once; an operation is `batch` of them.
/// `None` where it takes more than a bare connection to ask.
#[must_use]
pub fn gets(url: &str, payload: usize, in_flight: usize, batch: usize) -> Option<Ceiling> {
    let (scheme, rest) = url.split_once("://")?;
    let first = rest.split([',', '/']).next()?;
    if !matches!(scheme, "redis" | "redis-cluster") {
        return None;
    }
    let rate = measure(first, payload, in_flight.clamp(1, 10_000)).ok()?;
    let which = if scheme == "redis" { "" } else { " to one node" };
    Some(Ceiling { name: format!("bare GETs{which}, {in_flight} in flight"), ops_per_s: rate / batch as f64 })
}

fn measure(addr: &str, payload: usize, in_flight: usize) -> io::Result<f64> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut out, mut reader) = (stream.try_clone()?, BufReader::new(stream));
    let value = "x".repeat(payload);
    let key = own_key(&mut out, &mut reader, &value)?;
    let get = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).repeat(in_flight);
    // The length, the value, and the end of each.
    let mut answers = vec![0; in_flight * (format!("${payload}\r\n").len() + payload + 2)];
    let clock = PreciseClock::new();
    let (began, mut rounds) = (clock.now(), 0_u64);
    loop {
        out.write_all(get.as_bytes())?;
        reader.read_exact(&mut answers)?;
        rounds += 1;
        let took = clock.now().since(began);
        if took >= TIME {
            return Ok((rounds * in_flight as u64) as f64 / took.as_secs_f64());
        }
    }
}

/// A key that this server has, also if it is one of many; it expires soon.
fn own_key(out: &mut TcpStream, reader: &mut impl BufRead, value: &str) -> io::Result<String> {
    for attempt in 0..1_000 {
        let key = format!("bench-bare:{}:{attempt}", std::process::id());
        let set = format!(
            "*5\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n$2\r\nEX\r\n$2\r\n60\r\n",
            key.len(),
            value.len()
        );
        out.write_all(set.as_bytes())?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.starts_with("+OK") {
            return Ok(key);
        }
        if !line.starts_with("-MOVED") {
            return Err(io::Error::other(line));
        }
    }
    Err(io::Error::other("no key of this server was found"))
}
