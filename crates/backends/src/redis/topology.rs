//! What `CLUSTER SLOTS` says.

use std::sync::Arc;

use redis::Value;

use super::{endpoint::Address, error::Failure, route::SLOTS};
use crate::{ErrorKind, Retry};

/// A range of slots and who serves it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Address,
    pub(super) replicas: Vec<Address>,
}

/// Reads what the node at `asked` answered.
pub(super) fn parse(answer: &Value, asked: &Address) -> Result<Vec<Range>, Failure> {
    let Value::Array(ranges) = answer else { return Err(garbage()) };
    if ranges.is_empty() {
        return Err(Failure::down(format!("{asked} knows of no slots")));
    }
    ranges.iter().map(|range| parse_range(range, asked).ok_or_else(garbage)).collect()
}

fn parse_range(range: &Value, asked: &Address) -> Option<Range> {
    let Value::Array(fields) = range else { return None };
    let [Value::Int(first), Value::Int(last), nodes @ ..] = fields.as_slice() else { return None };
    let mut nodes = nodes.iter().map(|node| parse_node(node, asked));
    let range = Range {
        first: u16::try_from(*first).ok()?,
        last: u16::try_from(*last).ok().filter(|last| *last < SLOTS)?,
        master: nodes.next()??,
        replicas: nodes.collect::<Option<_>>()?,
    };
    (range.first <= range.last).then_some(range)
}

fn parse_node(node: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(fields) = node else { return None };
    let [host, Value::Int(port), ..] = fields.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => Arc::from(str::from_utf8(host).ok()?),
        // A node that does not know its own name stands for the one that was asked.
        _ => Arc::clone(&asked.host),
    };
    Some(Address { host, port: u16::try_from(*port).ok()? })
}

fn garbage() -> Failure {
    Failure::new(ErrorKind::Corrupt, Retry::Safe, "the answer to CLUSTER SLOTS cannot be read".to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    #[test]
    fn slots_are_read_and_a_node_without_a_name_is_the_one_asked() {
        let answer = "*2\r\n*4\r\n:0\r\n:5460\r\n*3\r\n$4\r\nhost\r\n:7000\r\n$2\r\nid\r\n*2\r\n$0\r\n\r\n:7001\r\n\
            *3\r\n:5461\r\n:16383\r\n*2\r\n$-1\r\n:7002\r\n";
        let answer = redis::parse_redis_value(answer.as_bytes()).unwrap();
        let asked = at("asked", 1);
        let [first, second] = &parse(&answer, &asked).unwrap()[..] else { panic!("two ranges") };
        assert_eq!((first.first, first.last), (0, 5460));
        assert_eq!((&first.master, &first.replicas[..]), (&at("host", 7000), &[at("asked", 7001)][..]));
        assert_eq!((second.last, &second.master), (16_383, &at("asked", 7002)));
    }

    #[test]
    fn what_is_no_map_of_slots_is_told() {
        let asked = at("asked", 1);
        for answer in ["+OK\r\n", "*1\r\n:1\r\n", "*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\nh\r\n:1\r\n"] {
            let answer = redis::parse_redis_value(answer.as_bytes()).unwrap();
            assert_eq!(parse(&answer, &asked).unwrap_err().kind(), ErrorKind::Corrupt, "{answer:?}");
        }
        assert_eq!(parse(&Value::Array(vec![]), &asked).unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
