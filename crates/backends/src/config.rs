use std::{fmt, str::FromStr, time::Duration};

use crate::{Error, ErrorKind, Result};

/// Where a server is, how to log in, and how long to wait for it.
///
/// | URL | for |
/// |---|---|
/// | `redis://[user:password@]host[:port][/database]` | one Redis or Valkey |
/// | `redis-cluster://[user:password@]host[:port],..` | a cluster, by some of its nodes |
/// | `kafka://host[:port],..` | Apache Kafka, by some of its brokers |
/// | `scylla://[user:password@]host[:port],..[/keyspace]` | ScyllaDB or Cassandra, by some of its nodes |
///
/// User and password are percent-encoded where they hold `:`, `/`, `@`, `,` or `%`. Neither is ever
/// shown.
///
/// ```
/// use std::time::Duration;
///
/// let config = backends::Config::parse("redis://app:s3cret@10.0.0.1/2")?
///     .request_timeout(Duration::from_millis(50));
/// assert_eq!(config.to_string(), "redis://10.0.0.1:6379/2");
/// # Ok::<(), backends::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    scheme: Scheme,
    login: Option<(String, String)>,
    nodes: Vec<(String, u16)>,
    path: Option<String>,
    connect_timeout: Duration,
    request_timeout: Duration,
}

/// What a [`Config`] connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `redis`
    Redis,
    /// `redis-cluster`
    RedisCluster,
    /// `kafka`
    Kafka,
    /// `scylla`
    Scylla,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Redis, Self::RedisCluster, Self::Kafka, Self::Scylla];

    /// As in URLs, in [`Error::backend`] and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
            Self::Kafka => "kafka",
            Self::Scylla => "scylla",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Redis | Self::RedisCluster => 6379,
            Self::Kafka => 9092,
            Self::Scylla => 9042,
        }
    }
}

impl Config {
    /// Reads a URL. Time-outs are 5 s.
    ///
    /// # Errors
    ///
    /// `Config` when the URL is malformed; the text says where, without quoting user or password.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme) else {
            let known = Scheme::ALL.map(Scheme::as_str).join(", ");
            let text = format!("the url does not begin with one of {known} and ://");
            return Err(Error::new(ErrorKind::Config, "backends", "parse", text));
        };
        let bad = |what: String| Error::new(ErrorKind::Config, scheme.as_str(), "parse", what);
        if rest.contains(['?', '#']) {
            return Err(bad("the url has options, of which none is known".into()));
        }
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                match (decode(user), decode(password)) {
                    (Some(user), Some(password)) => (Some((user, password)), rest),
                    _ => return Err(bad("user or password is not percent-encoded utf-8".into())),
                }
            }
            None => (None, rest),
        };
        let (nodes, path) = rest.split_once('/').unwrap_or((rest, ""));
        let nodes = nodes
            .split(',')
            .map(|node| {
                parse_node(node, scheme.default_port())
                    .ok_or_else(|| bad(format!("no host and port: {node:?}")))
            })
            .collect::<Result<Vec<_>>>()?;
        if scheme == Scheme::Redis && nodes.len() > 1 {
            return Err(bad("several hosts: a cluster is redis-cluster://".into()));
        }
        let path = (!path.is_empty()).then(|| path.to_owned());
        let path_is_good = match (scheme, &path) {
            (_, None) => true,
            (Scheme::Redis, Some(path)) => path.parse::<u16>().is_ok(),
            (Scheme::Scylla, Some(path)) => path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            (Scheme::RedisCluster | Scheme::Kafka, Some(_)) => false,
        };
        if !path_is_good {
            return Err(bad("what follows the hosts is no database number or keyspace".into()));
        }
        if scheme == Scheme::Kafka && login.is_some() {
            return Err(bad("a login is not supported".into()));
        }
        let timeout = Duration::from_secs(5);
        Ok(Self { scheme, login, nodes, path, connect_timeout: timeout, request_timeout: timeout })
    }

    /// How long a connection may take to be made.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take; after that the request is an ambiguous time-out.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// What it connects to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// What the connections read.
#[cfg(any(feature = "redis", feature = "kafka", feature = "scylla"))]
impl Config {
    /// The error of a `connect` that got the URL of something else.
    pub(crate) fn expect(&self, schemes: &[Scheme]) -> Result<()> {
        if schemes.contains(&self.scheme) {
            return Ok(());
        }
        let wanted = schemes[0].as_str();
        let text = format!("not a {wanted} url: {self}");
        Err(Error::new(ErrorKind::Config, wanted, "connect", text))
    }

    /// User and password.
    #[cfg(any(feature = "redis", feature = "scylla"))]
    pub(crate) fn login(&self) -> Option<(&str, &str)> {
        self.login.as_ref().map(|(user, password)| (&**user, &**password))
    }

    #[cfg(feature = "redis")]
    pub(crate) fn nodes(&self) -> &[(String, u16)] {
        &self.nodes
    }

    #[cfg(any(feature = "kafka", feature = "scylla"))]
    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().map(|(host, port)| format!("{host}:{port}"))
    }

    /// The database number or the keyspace.
    #[cfg(any(feature = "redis", feature = "scylla"))]
    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    pub(crate) fn connect_deadline(&self) -> Duration {
        self.connect_timeout
    }

    pub(crate) fn request_deadline(&self) -> Duration {
        self.request_timeout
    }
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::parse(url)
    }
}

/// The URL without user and password.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        for (i, (host, port)) in self.nodes.iter().enumerate() {
            write!(f, "{}{host}:{port}", if i == 0 { "" } else { "," })?;
        }
        self.path.as_ref().map_or(Ok(()), |path| write!(f, "/{path}"))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &format_args!("{self}"))
            .field("login", &self.login.as_ref().map(|_| "hidden"))
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// `host`, `host:port` or `[ipv6]:port`; an IPv6 address keeps its brackets.
fn parse_node(node: &str, default_port: u16) -> Option<(String, u16)> {
    let ipv6_end = node.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match node[ipv6_end..].find(':') {
        Some(colon) => (&node[..ipv6_end + colon], node[ipv6_end + colon + 1..].parse().ok()?),
        None => (node, default_port),
    };
    let good = !host.is_empty()
        && port != 0
        && !host.contains(['/', ' '])
        && host.starts_with('[') == host.ends_with(']');
    good.then(|| (host.to_owned(), port))
}

/// Percent-decoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let check = |url: &str, shown: &str| assert_eq!(Config::parse(url).unwrap().to_string(), shown);
        check("redis://localhost", "redis://localhost:6379");
        check("redis://h:1/3", "redis://h:1/3");
        check("redis-cluster://a:1,b", "redis-cluster://a:1,b:6379");
        check("kafka://[::1]:5,[::2]", "kafka://[::1]:5,[::2]:9092");
        check("scylla://127.0.0.2,127.0.0.3:9/ks", "scylla://127.0.0.2:9042,127.0.0.3:9/ks");
    }

    #[test]
    fn malformed_urls_are_told_without_their_secrets() {
        for url in [
            "",
            "localhost:6379",
            "http://u:secret@h",
            "redis://",
            "redis://u:secret@",
            "redis://u:secret@h:port",
            "redis://u:secret@h:0",
            "redis://u:secret@a,b",
            "redis://u:secret@h/db",
            "redis://u:secret%zz@h",
            "redis://u:secret@h?db=1",
            "redis-cluster://u:secret@h/1",
            "kafka://u:secret@h",
            "kafka://h/topic",
            "scylla://u:secret@h/a-b",
            "scylla://u:secret@[::1",
        ] {
            let error = Config::parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error}{error:?}").contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn logins_are_decoded_and_never_shown() {
        let config = Config::parse("redis://us%40er:p%3Ass%2fw%25rd@h").unwrap();
        assert_eq!(config.login, Some(("us@er".into(), "p:ss/w%rd".into())));
        let password_only = Config::parse("redis://:hush@h").unwrap();
        assert_eq!(password_only.login, Some((String::new(), "hush".into())));
        for (config, secrets) in [(config, ["us@er", "ss/w"]), (password_only, ["hush", "hush"])] {
            let shown = format!("{config} {config:?}");
            assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
        }
    }
}
