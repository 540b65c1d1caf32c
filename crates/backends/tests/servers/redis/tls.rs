use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use backends::{Config, Error, ErrorKind, Redis, Retry};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use testkit::{Failed, RedisServer, Scratch};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use super::{cluster_of_one, connect, increment, set};

/// Signs certificates, and is trusted or not.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Scratch,
}

impl Authority {
    fn new() -> Result<Self, Failed> {
        let mut parameters = CertificateParams::new(vec![])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let folder = Scratch::new()?;
        fs::write(folder.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate of 127.0.0.1 and its key, as files too.
    fn sign(&self, name: &str) -> Result<(rcgen::Certificate, PrivateKeyDer<'static>), Failed> {
        let key = KeyPair::generate()?;
        let signed = CertificateParams::new(vec!["127.0.0.1".into()])?.signed_by(&key, &self.issuer)?;
        fs::write(self.file(&format!("{name}.pem")), signed.pem())?;
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem())?;
        Ok((signed, PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?))
    }

    /// Speaks TLS before the server at `upstream`, as the servers found here cannot. With `clients`,
    /// only to those with a certificate of this authority.
    async fn guard(&self, upstream: SocketAddr, clients: bool) -> Result<SocketAddr, Failed> {
        let (certificate, key) = self.sign("server")?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(vec![certificate.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut client = acceptor.accept(client).await?;
                    let mut server = TcpStream::connect(upstream).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Ok(addr)
    }
}

/// An error that names no secret.
async fn refused(url: &str) -> Error {
    let error = match Config::parse(url) {
        Ok(config) => {
            assert!(!format!("{config:?}{config}").contains("s3cret"));
            Redis::connect(&config).await.unwrap_err()
        }
        Err(error) => error,
    };
    assert!(!format!("{error}{error:?}").contains("s3cret"), "{error:?}");
    error
}

pub(super) async fn tls_is_spoken_to_who_is_trusted(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    set(&mut connect(&server.url()).await?.connection()?, "requirepass", "s3cret").await?;
    let (trusted, other) = (Authority::new()?, Authority::new()?);
    let addr = trusted.guard(server.addr(), false).await?;
    let (ca, wrong) = (trusted.file("ca.pem"), other.file("ca.pem"));
    let redis = connect(&format!("rediss://:s3cret@{addr}/1?ca={}", ca.display())).await?;
    redis.health().await?;
    assert_eq!(increment(&mut redis.connection()?, "n").await?, 1);
    let large = vec![b'x'; 3 << 20];
    let mut connection = redis.connection()?;
    redis::cmd("SET").arg("large").arg(&large).exec_async(&mut connection).await?;
    let got: Vec<u8> = redis::cmd("GET").arg("large").query_async(&mut connection).await?;
    assert!(got == large);

    let missing = trusted.file("missing.pem");
    fs::write(trusted.file("text.pem"), "no certificate")?;
    for url in [
        format!("rediss://:n0t@{addr}?ca={}", ca.display()),
        format!("rediss://:s3cret@{addr}?ca={}", wrong.display()),
        format!("rediss://:s3cret@{addr}?ca={}", missing.display()),
        format!("rediss://:s3cret@{addr}?ca={}", trusted.file("text.pem").display()),
        format!("rediss://:s3cret@{addr}?ca={}&tls=no", ca.display()),
        // Neither the machine's authorities nor another name's certificate.
        format!("rediss://:s3cret@{addr}"),
        format!("rediss://:s3cret@localhost:{}?ca={}", addr.port(), ca.display()),
    ] {
        let error = refused(&url).await;
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Never), "{error:?}");
    }
    Ok(())
}

pub(super) async fn tls_is_spoken_to_a_cluster(program: &str) -> Result<(), Failed> {
    let (server, direct) = cluster_of_one(program).await?;
    let authority = Authority::new()?;
    let addr = authority.guard(server.addr(), false).await?;
    set(&mut direct.connection()?, "cluster-announce-port", &addr.port().to_string()).await?;
    let url = format!("rediss-cluster://{addr}?ca={}", authority.file("ca.pem").display());
    let redis = connect(&url).await?;
    for n in 0..20 {
        assert_eq!(increment(&mut redis.connection()?, &format!("k{n}")).await?, 1);
    }
    Ok(redis.health().await?)
}

pub(super) async fn a_client_certificate_is_shown(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let addr = authority.guard(server.addr(), true).await?;
    authority.sign("client")?;
    other.sign("client")?;
    let with = |from: &Authority, key: &str| {
        let (ca, cert) = (authority.file("ca.pem"), from.file("client.pem"));
        format!(
            "rediss://{addr}?ca={}&cert={}&key={}",
            ca.display(),
            cert.display(),
            from.file(key).display()
        )
    };
    connect(&with(&authority, "client.key")).await?.health().await?;
    let error = refused(&with(&authority, "ca.pem")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Never), "{error:?}");
    // The server hangs up, in the middle of what looks like a handshake that succeeded.
    for url in
        [with(&other, "client.key"), format!("rediss://{addr}?ca={}", authority.file("ca.pem").display())]
    {
        let error = refused(&url).await;
        assert_ne!(error.retry(), Retry::Ambiguous, "{error:?}");
    }
    Ok(())
}
