//! Encrypted connections. Feature `redis-tls`.

use crate::{Config, Error, ErrorKind, Result};

#[cfg(feature = "redis-tls")]
pub(super) use with_rustls::Tls;

/// What a configuration asks for that is not compiled in.
#[cfg(not(feature = "redis-tls"))]
pub(super) enum Tls {}

#[cfg(not(feature = "redis-tls"))]
impl Tls {
    pub(super) fn new(config: &Config) -> Result<Option<Self>> {
        if config.tls().is_none() {
            return Ok(None);
        }
        let text = "tls is not compiled in: backends needs the feature redis-tls";
        Err(Error::new(ErrorKind::Unsupported, config.scheme().as_str(), "connect", text))
    }
}

#[cfg(feature = "redis-tls")]
mod with_rustls {
    use std::{fmt::Display, path::Path, sync::Arc};

    use rustls_native_certs::load_native_certs;
    use tokio::net::TcpStream;
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream,
        rustls::{
            ClientConfig, RootCertStore,
            crypto::ring,
            pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        },
    };

    use super::{Config, Error, ErrorKind, Result};
    use crate::{Retry, redis::error::Failure};

    pub(crate) struct Tls {
        connector: TlsConnector,
    }

    impl Tls {
        /// Reads the files that `config` names.
        pub(crate) fn new(config: &Config) -> Result<Option<Self>> {
            let Some(tls) = config.tls() else { return Ok(None) };
            let bad = |what: String| Error::new(ErrorKind::Config, config.scheme().as_str(), "connect", what);
            let roots = match tls.ca.as_deref() {
                Some(file) => {
                    let mut roots = RootCertStore::empty();
                    for certificate in certificates(file).map_err(bad)? {
                        let added = roots.add(certificate);
                        added.map_err(|error| bad(unusable("ca", file, &error)))?;
                    }
                    roots
                }
                None => {
                    let mut roots = RootCertStore::empty();
                    roots.add_parsable_certificates(load_native_certs().certs);
                    roots
                }
            };
            if roots.is_empty() {
                return Err(bad("there are no trusted certificates: name a file with ?ca=".into()));
            }
            let provider = Arc::new(ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| bad(error.to_string().to_lowercase()))?
                .with_root_certificates(roots);
            let client = match (tls.cert.as_deref(), tls.key.as_deref()) {
                (Some(cert), Some(key)) => {
                    let chain = certificates(cert).map_err(bad)?;
                    let private = PrivateKeyDer::from_pem_file(key)
                        .map_err(|error| bad(unusable("key", key, &error)))?;
                    let built = builder.with_client_auth_cert(chain, private);
                    built.map_err(|error| bad(unusable("cert", cert, &error)))?
                }
                _ => builder.with_no_client_auth(),
            };
            Ok(Some(Self { connector: TlsConnector::from(Arc::new(client)) }))
        }

        pub(crate) async fn handshake(
            &self,
            host: &str,
            stream: TcpStream,
        ) -> Result<TlsStream<TcpStream>, Failure> {
            let refused = |kind, retry, error: &dyn Display| {
                Failure::new(kind, retry, format!("no tls with {host}: {error}").to_lowercase())
            };
            let name = ServerName::try_from(host.to_owned())
                .map_err(|error| refused(ErrorKind::Config, Retry::Never, &error))?;
            self.connector.connect(name, stream).await.map_err(|error| match error.kind() {
                // A certificate that is not trusted will not be so next time.
                std::io::ErrorKind::InvalidData => refused(ErrorKind::Config, Retry::Never, &error),
                _ => refused(ErrorKind::Unavailable, Retry::Safe, &error),
            })
        }
    }

    fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(format!("{}: holds no certificate", file.display())),
            Err(error) => Err(unusable("certificates", file, &error)),
        }
    }

    fn unusable(what: &str, file: &Path, error: &dyn Display) -> String {
        format!("{}: no usable {what}: {error}", file.display()).replace('\n', " ")
    }
}
