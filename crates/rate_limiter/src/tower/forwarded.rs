//! The addresses that proxies have written down, from the last one backwards.
//!
//! Only what the nearest proxies wrote can be trusted, so nothing is read further to the left than need be:
//! what a client has put there is not even parsed.

use std::{
    net::{IpAddr, SocketAddr},
    str,
};

use http::{HeaderMap, HeaderName, header::FORWARDED};

/// Where proxies write down whom they serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field {
    #[default]
    XForwardedFor,
    Forwarded,
}

/// Each hop from the right; `None` is one that cannot be read.
pub(super) fn hops(headers: &HeaderMap, field: Field) -> impl Iterator<Item = Option<IpAddr>> {
    let (name, parse): (_, fn(&str) -> Option<IpAddr>) = match field {
        Field::XForwardedFor => (HeaderName::from_static("x-forwarded-for"), node),
        Field::Forwarded => (FORWARDED, forwarded_for),
    };
    let lines = headers.get_all(name).into_iter().rev();
    let elements = lines.flat_map(|line| ElementsFromRight { rest: Some(line.as_bytes()) });
    elements.map(move |element| parse(str::from_utf8(element?).ok()?.trim_matches([' ', '\t'])))
}

/// Splits a list at its commas, but for those in quoted strings; an element whose quotes do not match is
/// `None`, and the last.
struct ElementsFromRight<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for ElementsFromRight<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            match byte {
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => {
                    self.rest = Some(&rest[..at]);
                    return Some(Some(&rest[at + 1..]));
                }
                _ => {}
            }
        }
        Some((!is_quoted).then_some(rest))
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse().ok().map(|address: std::net::Ipv6Addr| IpAddr::V6(address).to_canonical());
    }
    // An address with a scope is no more than a name on some other machine.
    let address = text.parse::<SocketAddr>().ok().filter(|_| !text.contains('%'))?;
    Some(address.ip().to_canonical())
}

/// The parameter `for` of an element of `Forwarded`, RFC 7239; names that hide an address are `None`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        if !name.trim_matches([' ', '\t']).eq_ignore_ascii_case("for") {
            continue;
        }
        if found.is_some() {
            return None;
        }
        let value = value.trim_matches([' ', '\t']);
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        found = Some(node(value)?);
    }
    found
}
