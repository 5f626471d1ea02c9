//! TLS for the listeners, from what a web configuration file says.
//!
//! Invariant: what is built here is whole: key and certificate belong together, at least one version and,
//! for TLS 1.2, one suite is left. TLS 1.0 and 1.1, CBC and key exchange by RSA do not exist here.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, NamedGroup, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, version,
};

use crate::config::{ClientAuth, WebTls};

/// Loads certificate and key.
///
/// # Errors
/// What is wrong, with the path of the file it is wrong in.
pub(super) fn load(tls: &WebTls, warnings: &mut Vec<String>) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&tls.certificate)?;
    if chain.is_empty() {
        return Err(format!("{}: holds no certificate in PEM", tls.certificate.display()));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?)
        .map_err(|_| format!("{}: holds no private key in PEM", tls.key.display()))?;
    let provider = Arc::new(provider(tls, warnings)?);
    let versions = versions(tls);
    let verifier = verifier(tls, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| format!("{}: {error}", tls.certificate.display()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| {
            format!("{} and {} do not serve: {error}", tls.certificate.display(), tls.key.display())
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = tls.own_order;
    // An own table of tickets would grow with each client; a scraper's handshake each minute costs little.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: is not good PEM: {error}", path.display()))
}

fn versions(tls: &WebTls) -> Vec<&'static SupportedProtocolVersion> {
    [(tls.tls13, &version::TLS13), (tls.tls12, &version::TLS12)]
        .into_iter()
        .filter_map(|(spoken, version)| spoken.then_some(version))
        .collect()
}

/// The suites and curves that are left. As in the toolkit, a list of suites does not touch TLS 1.3.
fn provider(tls: &WebTls, warnings: &mut Vec<String>) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if !tls.suites.is_empty() {
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        let written = |name: &str| tls.suites.iter().position(|suite| suite == name);
        provider.cipher_suites.retain(|suite| {
            suite.version().version == rustls::ProtocolVersion::TLSv1_3 || written(&name(suite)).is_some()
        });
        provider.cipher_suites.sort_by_key(|suite| written(&name(suite)));
        let left = |version| provider.cipher_suites.iter().any(|suite| suite.version().version == version);
        if !tls.tls13 && !left(rustls::ProtocolVersion::TLSv1_2) {
            return Err("tls_server_config.cipher_suites leaves no suite of TLS 1.2; \
                        AES-GCM and ChaCha20 over ECDHE are spoken"
                .to_owned());
        }
        let gone = tls.suites.iter().filter(|suite| suite.contains("_CBC_") || suite.starts_with("TLS_RSA_"));
        let gone: Vec<_> = gone.map(String::as_str).collect();
        if !gone.is_empty() {
            warnings.push(format!("tls_server_config.cipher_suites: not spoken here: {}", gone.join(", ")));
        }
    }
    if !tls.curves.is_empty() {
        let group = |curve: &str| match curve {
            "CurveP256" => Some(NamedGroup::secp256r1),
            "CurveP384" => Some(NamedGroup::secp384r1),
            "X25519" => Some(NamedGroup::X25519),
            _ => None,
        };
        let wanted: Vec<_> = tls.curves.iter().filter_map(|curve| group(curve)).collect();
        if wanted.len() < tls.curves.len() {
            warnings.push("tls_server_config.curve_preferences: CurveP521 is not spoken here".to_owned());
        }
        provider.kx_groups.retain(|known| wanted.contains(&known.name()));
        provider.kx_groups.sort_by_key(|known| wanted.iter().position(|name| *name == known.name()));
        if provider.kx_groups.is_empty() {
            return Err("tls_server_config.curve_preferences leaves no curve; \
                        X25519, CurveP256 and CurveP384 are spoken"
                .to_owned());
        }
    }
    Ok(provider)
}

fn verifier(tls: &WebTls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mandatory = match tls.client {
        ClientAuth::None => return Ok(Arc::new(NoClientAuth)),
        ClientAuth::Request => false,
        ClientAuth::RequireAny => true,
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
            let roots = match &tls.client_ca {
                None => crate::probe::certificate::native(),
                Some(path) => {
                    let mut roots = RootCertStore::empty();
                    roots.add_parsable_certificates(certificates(path)?);
                    if roots.is_empty() {
                        return Err(format!("{}: holds no certificate in PEM", path.display()));
                    }
                    Arc::new(roots)
                }
            };
            let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            let builder = if tls.client == ClientAuth::VerifyIfGiven {
                builder.allow_unauthenticated()
            } else {
                builder
            };
            return builder.build().map(|verifier| verifier as _).map_err(|error| {
                format!("tls_server_config.client_auth_type: no client can be verified: {error}")
            });
        }
    };
    if let Some(path) = &tls.client_ca {
        certificates(path)?;
    }
    Ok(Arc::new(AnyClient { mandatory, provider: Arc::clone(provider) }))
}

/// Takes every certificate whose key the client has.
#[derive(Debug)]
struct AnyClient {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
