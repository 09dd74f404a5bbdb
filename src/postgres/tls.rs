//! Encryption to PostgreSQL: what each `sslmode` demands of the server's certificate.
//!
//! In: `sslmode` and `sslrootcert`. Out: a connector for tokio-postgres. Invariant: the modes demand what libpq's
//! do; from `require` on, nothing leads to an unencrypted connection.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

#[derive(Clone)]
pub(super) struct Tls {
    pub mode: SslMode,
    pub connector: MakeRustlsConnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    pub fn new(mode: Option<SslMode>, roots: Option<&str>) -> Result<Self, TlsFault> {
        let (mode, demand) = match (mode, roots) {
            (None | Some(SslMode::VerifyFull), Some("system")) => {
                (SslMode::VerifyFull, Demand::ChainAndName(system_roots()?))
            }
            (Some(_), Some("system")) => return Err(TlsFault::WeakWithSystem),
            (Some(SslMode::VerifyCa | SslMode::VerifyFull), None) => return Err(TlsFault::NoRoots),
            (Some(mode @ SslMode::VerifyFull), Some(file)) => {
                (mode, Demand::ChainAndName(roots_in(file)?))
            }
            (mode, Some(file)) => (mode.unwrap_or(SslMode::Prefer), Demand::Chain(roots_in(file)?)),
            (mode, None) => (mode.unwrap_or(SslMode::Prefer), Demand::Nothing),
        };
        Ok(Self { mode, connector: connector(demand)? })
    }
}

impl SslMode {
    /// The default first.
    pub const NAMES: &[(&str, Self)] = &[
        ("prefer", Self::Prefer),
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

enum Demand {
    Nothing,
    Chain(Roots),
    ChainAndName(Roots),
}

type Roots = Vec<CertificateDer<'static>>;

fn connector(demand: Demand) -> Result<MakeRustlsConnect, TlsFault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(demand, &provider)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsFault::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // sslnegotiation=direct asks for it; to others it means nothing.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(
    demand: Demand,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsFault> {
    let (roots, name_counts) = match demand {
        Demand::Nothing => return Ok(Arc::new(Unverified(Arc::clone(provider)))),
        Demand::Chain(roots) => (roots, false),
        Demand::ChainAndName(roots) => (roots, true),
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    let chain = chain.build().map_err(|_| TlsFault::UnusableRoots)?;
    Ok(Arc::new(Verified { chain, roots, name_counts }))
}

/// Encrypts without asking who is at the other end. The handshake's signature would prove possession of a key that
/// nobody vouches for, so it is not asked for either: old certificates of version 1 go through, as with libpq.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Verified {
    chain: Arc<WebPkiServerVerifier>,
    roots: Roots,
    name_counts: bool,
}

impl Verified {
    /// A server whose own certificate is a trusted root, as `openssl req -x509` makes them: webpki takes no
    /// certificate authority for a server, but the operator named this very certificate.
    fn is_root_itself(&self, failure: &Error, server: &CertificateDer<'_>) -> bool {
        matches!(failure, Error::InvalidCertificate(CertificateError::Other(_)))
            && self.roots.iter().any(|root| root == server)
    }

    fn verify_name(&self, server: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        if self.name_counts {
            verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(server, intermediates, name, ocsp, now) {
            Err(failure) if self.is_root_itself(&failure, server) => {
                self.verify_name(server, name)?;
            }
            // The name is judged last, when the chain was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name_counts => {}
            Err(failure) => return Err(failure),
            Ok(_) => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, server, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, server, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, name_counts, .. } = self;
        write!(f, "Verified({} roots, name counts: {name_counts})", roots.len())
    }
}

fn roots_in(file: &str) -> Result<Roots, TlsFault> {
    let unreadable = |source| TlsFault::Unreadable { file: file.into(), source };
    let roots: Result<Roots, _> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(unreadable);
    match roots? {
        empty if empty.is_empty() => Err(TlsFault::Empty(file.into())),
        roots => Ok(roots),
    }
}

fn system_roots() -> Result<Roots, TlsFault> {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() { Err(TlsFault::NoSystemRoots) } else { Ok(found) }
}

#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error(
        "sslmode verify-ca and verify-full need sslrootcert: the file of the certificate authority, or \
         sslrootcert=system for those of this machine"
    )]
    NoRoots,
    #[error("sslrootcert=system goes with sslmode=verify-full only")]
    WeakWithSystem,
    #[error("sslrootcert: {file} cannot be read as PEM certificates")]
    Unreadable { file: String, source: rustls::pki_types::pem::Error },
    #[error("sslrootcert: {0} has no certificate in it")]
    Empty(String),
    #[error("sslrootcert has no certificate that can be used as a root")]
    UnusableRoots,
    #[error(
        "this machine has no trusted certificates: install the package ca-certificates, or name a file as sslrootcert"
    )]
    NoSystemRoots,
    #[error("TLS cannot be set up")]
    Setup(#[source] Error),
}
