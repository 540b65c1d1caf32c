use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use crate::{Error, ErrorKind, Result};

/// Where a server is, how to log in, and how long to wait for it.
///
/// | URL | for |
/// |---|---|
/// | `redis://[user:password@]host[:port][/database]` | one Redis or Valkey |
/// | `redis-cluster://[user:password@]host[:port],..` | a cluster, by some of its nodes |
/// | `rediss://..`, `rediss-cluster://..` | the same, encrypted by TLS |
/// | `kafka://host[:port],..` | Apache Kafka, by some of its brokers |
/// | `scylla://[user:password@]host[:port],..[/keyspace]` | ScyllaDB or Cassandra, by some of its nodes |
///
/// User and password are percent-encoded where they hold `:`, `/`, `@`, `,`, `?` or `%`. Neither is ever
/// shown.
///
/// Options follow after `?`, joined by `&`:
///
/// | option | for |
/// |---|---|
/// | `timeout=50ms`, `connect_timeout=2s` | [`request_timeout`](Self::request_timeout) and [`connect_timeout`](Self::connect_timeout), in `ms` or `s` |
/// | `ca=/path/ca.pem` | with TLS: whom to trust instead of the system's certificate authorities |
/// | `cert=/path/client.pem`, `key=/path/client.key` | with TLS: a certificate to show, both or neither |
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
    tls: Option<Files>,
    connect_timeout: Duration,
    request_timeout: Duration,
}

/// The files of an encrypted connection, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Whom to trust.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to show, and its key.
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
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
    /// Reads a URL. Time-outs that it does not name are 5 s.
    ///
    /// # Errors
    ///
    /// `Config` when the URL is malformed; the text says where, without quoting user or password.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (scheme, mut tls) = match scheme.strip_prefix("rediss") {
            Some(rest) => (format!("redis{rest}"), Some(Files::default())),
            None => (scheme.to_owned(), None),
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme) else {
            let known = Scheme::ALL.map(Scheme::as_str).join(", ");
            let text = format!("the url does not begin with one of {known} and ://");
            return Err(Error::new(ErrorKind::Config, "backends", "parse", text));
        };
        let bad = |what: String| Error::new(ErrorKind::Config, scheme.as_str(), "parse", what);
        if rest.contains('#') {
            return Err(bad("the url has a fragment".into()));
        }
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        // What stands before a misplaced question mark may be a password.
        if options.contains('@') {
            return Err(bad("user or password is not percent-encoded".into()));
        }
        let timeout = Duration::from_secs(5);
        let (mut connect_timeout, mut request_timeout) = (timeout, timeout);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decode(value).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| bad(format!("the option {name} has no value")))?;
            let time =
                || parse_time(&value).ok_or_else(|| bad(format!("the option {name} is no time: 50ms, 2s")));
            match (name, &mut tls) {
                ("timeout", _) => request_timeout = time()?,
                ("connect_timeout", _) => connect_timeout = time()?,
                ("ca", Some(tls)) => tls.ca = Some(value.into()),
                ("cert", Some(tls)) => tls.cert = Some(value.into()),
                ("key", Some(tls)) => tls.key = Some(value.into()),
                ("ca" | "cert" | "key", None) => {
                    return Err(bad(format!("the option {name} is for tls: rediss:// or rediss-cluster://")));
                }
                _ => {
                    let known = "timeout, connect_timeout, ca, cert, key";
                    return Err(bad(format!("unknown option {name:?}: known are {known}")));
                }
            }
        }
        if tls.as_ref().is_some_and(|tls| tls.cert.is_some() != tls.key.is_some()) {
            return Err(bad("the options cert and key go together".into()));
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
        Ok(Self { scheme, login, nodes, path, tls, connect_timeout, request_timeout })
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

    #[cfg(feature = "redis")]
    pub(crate) fn tls(&self) -> Option<&Files> {
        self.tls.as_ref()
    }

    /// The same for one node alone, which may be no member of a cluster for what is asked of it.
    #[cfg(feature = "redis")]
    pub(crate) fn only(&self, node: &str) -> Option<Self> {
        let (host, port) = node.rsplit_once(':')?;
        let nodes = vec![(host.to_owned(), port.parse().ok()?)];
        Some(Self { scheme: Scheme::Redis, nodes, path: None, ..self.clone() })
    }

    /// The nodes, as `host:port`.
    #[cfg(any(feature = "redis", feature = "kafka", feature = "scylla"))]
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

/// The URL without user, password and options.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        match &self.tls {
            Some(_) => write!(f, "{}://", scheme.replacen("redis", "rediss", 1))?,
            None => write!(f, "{scheme}://")?,
        }
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
            .field("tls", &self.tls)
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

/// A whole number of `ms` or `s`.
fn parse_time(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let amount = number.parse().ok().filter(|&amount| amount > 0)?;
    match &text[number.len()..] {
        "ms" => Some(Duration::from_millis(amount)),
        "s" => Some(Duration::from_secs(amount)),
        _ => None,
    }
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
        check("rediss://h/3?ca=/x.pem", "rediss://h:6379/3");
        check("rediss-cluster://h:1?cert=/c&key=/k", "rediss-cluster://h:1");
        check("redis://h?timeout=50ms&connect_timeout=2s", "redis://h:6379");
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
            "redis://u:secret?x@h",
            "redis://u:secret@h?timeout=5",
            "redis://u:secret@h?timeout=0ms",
            "redis://u:secret@h?timeout",
            "redis://u:secret@h?ca=/x",
            "rediss://u:secret@h?cert=/x",
            "rediss://u:secret@h?ca=",
            "rediss-kafka://u:secret@h",
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
    fn options_are_read() {
        let config = Config::parse("redis://h?timeout=50ms&connect_timeout=2s").unwrap();
        let times = (config.request_timeout, config.connect_timeout);
        assert_eq!(times, (Duration::from_millis(50), Duration::from_secs(2)));
        let files = Config::parse("rediss://h?ca=/a%20b.pem&cert=/c&key=/k").unwrap().tls.unwrap();
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!((files.ca, files.cert, files.key), (path("/a b.pem"), path("/c"), path("/k")));
        assert_eq!(Config::parse("rediss://h").unwrap().tls, Some(Files::default()));
        assert_eq!(Config::parse("redis://h").unwrap().tls, None);
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
