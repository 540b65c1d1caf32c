use std::net::{IpAddr, SocketAddr};

use backends::{Error, ErrorKind, Result};
use http::{Extensions, Request};

use super::{
    cidr::{Cidr, masked},
    forwarded::{Field, hops},
    key::KeyFn,
};

/// The address of a client as the key, read through listed proxies only.
///
/// The address of the connection is what a client cannot choose. Where that is a listed proxy, the last
/// entry of `X-Forwarded-For` is what this proxy saw; where that is a listed proxy again, the entry before;
/// the first that is not listed is the client. Whatever stands further to the left came from the client, and
/// is not looked at. An entry that cannot be read ends the walk at the proxy that passed it on.
///
/// An IPv6 client is known by its /64, of which a customer usually has every address; an IPv4 address in
/// IPv6 form is the IPv4 address.
///
/// ```
/// use std::net::SocketAddr;
/// use http::Request;
/// use rate_limiter::tower::ClientIp;
///
/// let ip = ClientIp::trusting(["10.0.0.0/8", "2001:db8:1::/48"])?;
/// let mut request = Request::new(());
/// request.headers_mut().append("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.1.1.1".parse()?);
/// request.extensions_mut().insert(SocketAddr::from(([10, 0, 0, 1], 4711)));
/// assert_eq!(ip.of(&request), Some("198.51.100.7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientIp {
    trusted: Box<[Cidr]>,
    field: Field,
    peer: fn(&Extensions) -> Option<IpAddr>,
    ipv6_prefix: u8,
}

impl ClientIp {
    /// Believes these proxies: blocks like `10.0.0.0/8`, or addresses.
    ///
    /// List those that append to the field what they see, and no others: a proxy that passes on what the
    /// client sent lets it choose its address.
    ///
    /// # Errors
    ///
    /// `Config` when a block cannot be read, or has bits set after its prefix.
    pub fn trusting(proxies: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self> {
        let blocks = proxies.into_iter().map(|text| Cidr::parse(text.as_ref()));
        let trusted = blocks.collect::<Result<_, _>>();
        let trusted = trusted.map_err(|why| Error::new(ErrorKind::Config, "any", "client_ip", why))?;
        Ok(Self { trusted, ..Self::direct() })
    }

    /// Believes no header: the address of the connection is the client.
    #[must_use]
    pub fn direct() -> Self {
        let peer = |extensions: &Extensions| extensions.get::<SocketAddr>().map(SocketAddr::ip);
        Self { trusted: Box::default(), field: Field::XForwardedFor, peer, ipv6_prefix: 64 }
    }

    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-For`. Never both: a proxy writes one, and lets
    /// through what a client puts into the other.
    #[must_use]
    pub fn forwarded(self) -> Self {
        Self { field: Field::Forwarded, ..self }
    }

    /// Takes the address of the connection from where the server puts it; from an extension of type
    /// [`SocketAddr`] unless said otherwise.
    ///
    /// With axum: `.peer(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()))`.
    #[must_use]
    pub fn peer(self, peer: fn(&Extensions) -> Option<IpAddr>) -> Self {
        Self { peer, ..self }
    }

    /// Knows IPv6 clients by this many bits of their address: 64 unless said otherwise, 128 at most.
    #[must_use]
    pub fn ipv6_prefix(self, bits: u8) -> Self {
        Self { ipv6_prefix: bits, ..self }
    }

    /// Whose request this is; `None` where the address of the connection is not known.
    pub fn of<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let mut client = (self.peer)(request.extensions())?.to_canonical();
        if self.trusts(client) {
            for hop in hops(request.headers(), self.field) {
                let Some(address) = hop else { break };
                client = address;
                if !self.trusts(client) {
                    break;
                }
            }
        }
        Some(if client.is_ipv6() { masked(client, self.ipv6_prefix) } else { client })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|block| block.contains(address))
    }
}

impl<B> KeyFn<B> for ClientIp {
    type Key = IpAddr;

    fn key(&self, request: &Request<B>) -> Option<IpAddr> {
        self.of(request)
    }
}
