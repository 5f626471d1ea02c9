//! A server's certificate chain: recorded while the handshake runs on, judged afterwards.
//!
//! A TLS client that stops at a bad certificate cannot tell when a good one will expire. So the
//! [`Recorder`] accepts every chain (and still checks that the peer owns the leaf's key), and
//! [`Recorder::judge`] asks the real verifier later, with the roots, name and time it is handed.
//!
//! Invariant: only certificates that the path from the leaf really uses are judged: an expired
//! certificate which a server sends along, and no client needs, is not an outage (RFC 5280, 6.1).
//!
//! RFC 5280 (4.1.2.5 validity, 4.2.1.6 alternative names), RFC 6125 as in webpki.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use crate::sample::{Findings, Reason, Text};
use crate::time::WallTime;

mod good;

/// The most certificates a path has, leaf and root included; what a server sends beyond is ignored.
const MAX_PATH: usize = 10;
/// The shortest RSA key, in bits, whose signatures ring checks.
pub const MIN_RSA_BITS: usize = 2048;

/// Root certificates that a configuration names.
#[derive(Debug, Clone)]
pub struct RootStore {
    anchors: Arc<RootCertStore>,
    certificates: Vec<CertificateDer<'static>>,
    /// Of the certificates, in their order.
    digest: [u8; 32],
}

impl PartialEq for RootStore {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

/// Why a text is no set of root certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// There is no certificate in it.
    #[error("no certificate in PEM form (-----BEGIN CERTIFICATE-----) found")]
    Empty,
    /// Its PEM armour is broken.
    #[error("certificate {0} is not valid PEM: {1}")]
    Pem(usize, String),
    /// A certificate (counted from 1) cannot be a root.
    #[error("certificate {0} cannot be used as a root: {1}")]
    Unusable(usize, String),
}

impl RootStore {
    /// Reads every certificate of a PEM text; other PEM sections are skipped.
    ///
    /// # Errors
    /// If there is none, or one of them is unusable.
    pub fn from_pem(text: &str) -> Result<Self, RootError> {
        let mut anchors = RootCertStore::empty();
        let mut certificates = Vec::new();
        for (item, number) in CertificateDer::pem_slice_iter(text.as_bytes()).zip(1..) {
            let certificate = item.map_err(|why| RootError::Pem(number, why.to_string()))?;
            anchors.add(certificate.clone()).map_err(|why| RootError::Unusable(number, why.to_string()))?;
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            return Err(RootError::Empty);
        }
        let mut digest = Sha256::new();
        for certificate in &certificates {
            digest.update(certificate.len().to_be_bytes());
            digest.update(certificate);
        }
        Ok(Self { anchors: Arc::new(anchors), certificates, digest: digest.finalize().into() })
    }
}

/// Which roots a chain is judged against.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Roots {
    /// Those of the operating system.
    #[default]
    Native,
    /// Those of a file.
    Pem(Arc<RootStore>),
    /// None: trust is not judged.
    None,
}

/// The roots of the operating system, read once for the process. Empty if there are none: then trust
/// is not judged, for that is a fault of ours and not of the peer's.
pub fn native() -> Arc<RootCertStore> {
    static NATIVE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    NATIVE
        .get_or_init(|| {
            let mut anchors = RootCertStore::empty();
            anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(anchors)
        })
        .clone()
}

/// The one cryptography all our TLS uses.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = ring::default_provider();
            // None is better than another; but processors compute SHA-256, and SHA-384 is computed on them.
            provider.cipher_suites.sort_by_key(|suite| hash_len(*suite));
            Arc::new(provider)
        })
        .clone()
}

fn hash_len(suite: SupportedCipherSuite) -> usize {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider.output_len(),
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider.output_len(),
    }
}

/// What the peer sent in its Certificate message.
#[derive(Debug)]
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    stapled_ocsp: bool,
}

/// Accepts and records every chain; see the head of the module.
#[derive(Debug)]
pub struct Recorder {
    chain: Mutex<Option<Chain>>,
    client_certificate_requested: AtomicBool,
}

impl Recorder {
    /// A recorder for one handshake, begun at `_wall`.
    #[must_use]
    pub fn new(_wall: WallTime) -> Arc<Self> {
        Arc::new(Self { chain: Mutex::new(None), client_certificate_requested: AtomicBool::new(false) })
    }

    /// Whether the peer asked for a certificate of ours. We have none, so a peer that demands one ends
    /// the handshake with an alert (TLS 1.2) or right after it (TLS 1.3): healthy either way.
    pub fn client_certificate_requested(&self) -> bool {
        self.client_certificate_requested.load(Ordering::Relaxed)
    }

    /// What is to be said of the chain at `wall`, for a client that asked for `name` (a host name or
    /// a literal address; nothing: the name is not judged). Nothing until a chain was seen.
    pub fn judge(&self, roots: &Roots, name: Option<&str>, wall: WallTime) -> Option<Judgement> {
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = chain.as_ref()?;
        let asked = good::asked(&chain.certificates, roots, name);
        let mut judgement = good::again(&asked, wall).unwrap_or_else(|| {
            let judgement = judge(chain, roots, name, wall);
            good::keep(asked, wall, &judgement);
            judgement
        });
        judgement.stapled_ocsp = chain.stapled_ocsp;
        judgement.client_certificate_requested = self.client_certificate_requested();
        Some(judgement)
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificates =
            std::iter::once(end_entity).chain(intermediates).map(|c| c.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Chain { certificates, stapled_ocsp: !ocsp_response.is_empty() });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Recorder {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.client_certificate_requested.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The wall clock of one exchange: it stands still.
#[derive(Debug)]
struct FixedTime(WallTime);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0))
    }
}

fn unix_time(wall: WallTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(wall.as_unix_secs()).unwrap_or(0),
    ))
}

/// A client's configuration for one handshake: TLS 1.2 and 1.3, no resumption (a resumed handshake
/// shows no certificate), the time from `wall`, and these protocols offered by ALPN.
///
/// # Panics
/// Never: the provider's suites serve both versions.
#[must_use]
pub fn client_config(recorder: Arc<Recorder>, wall: WallTime, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(FixedTime(wall)))
        .with_safe_default_protocol_versions()
        .expect("ring serves TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_client_cert_resolver(recorder);
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// What is to be said of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What is wrong with it, the gravest first: expired, not yet valid, another name, untrusted.
    pub reason: Option<Reason>,
    /// When the first certificate of the path expires; years after 2262 are told as 2262. If the leaf
    /// cannot be read this is the epoch, and [`Self::note`] keeps it to itself.
    pub not_after: WallTime,
    /// How many certificates the peer sent.
    chain_length: usize,
    stapled_ocsp: bool,
    client_certificate_requested: bool,
    /// Whether the path ends at a root; nothing if that was not judged.
    trusted: Option<bool>,
    leaf: Option<Leaf>,
}

/// What people want to know of the leaf.
#[derive(Debug, Clone, PartialEq)]
struct Leaf {
    subject: Text,
    issuer: Text,
    names: Vec<Text>,
    not_before: String,
    /// Of the path, with the year as written.
    not_after: String,
    /// Whose `not_after` that is, if not the leaf's.
    expires_first: Option<Text>,
    /// The same in seconds since the epoch.
    until: i64,
    /// Whole days that are left, towards zero: -1 from a day after the end on.
    days_left: i64,
    self_signed: bool,
    rsa_bits: Option<usize>,
}

impl Judgement {
    /// Whether the leaf's key is of a kind that our cryptography cannot check signatures of (RSA below
    /// [`MIN_RSA_BITS`]): then a handshake that fails at the signature proves nothing against the peer.
    #[must_use]
    pub fn has_weak_key(&self) -> bool {
        self.leaf.as_ref().and_then(|leaf| leaf.rsa_bits).is_some_and(|bits| bits < MIN_RSA_BITS)
    }

    /// Writes it down: `certificate_not_after`, and for people `subject`, `issuer`, `san`,
    /// `not_before`, `not_after` (of the first to expire, `expires_first` if that is not the leaf),
    /// `days_left`, `chain_length`, `self_signed`, `rsa_bits`, `trusted` (if judged), `ocsp_stapled` and `client_certificate_requested`.
    pub fn note(&self, findings: &mut Findings) {
        let details = &mut findings.details;
        details.number("chain_length", i64::try_from(self.chain_length).unwrap_or(i64::MAX));
        details.flag("ocsp_stapled", self.stapled_ocsp);
        details.flag("client_certificate_requested", self.client_certificate_requested);
        if let Some(trusted) = self.trusted {
            details.flag("trusted", trusted);
        }
        let Some(leaf) = &self.leaf else { return };
        findings.certificate_not_after = Some(self.not_after);
        details.text("subject", leaf.subject.clone());
        details.text("issuer", leaf.issuer.clone());
        details.list("san", leaf.names.iter().cloned());
        details.text("not_before", leaf.not_before.as_str());
        details.text("not_after", leaf.not_after.as_str());
        if let Some(subject) = &leaf.expires_first {
            details.text("expires_first", subject.clone());
        }
        details.number("days_left", leaf.days_left);
        details.flag("self_signed", leaf.self_signed);
        if let Some(bits) = leaf.rsa_bits {
            details.number("rsa_bits", i64::try_from(bits).unwrap_or(i64::MAX));
        }
    }
}

fn judge(chain: &Chain, roots: &Roots, name: Option<&str>, wall: WallTime) -> Judgement {
    let mut judgement = Judgement {
        reason: Some(Reason::CertUntrusted),
        not_after: WallTime::default(),
        chain_length: chain.certificates.len(),
        stapled_ocsp: chain.stapled_ocsp,
        client_certificate_requested: false,
        trusted: None,
        leaf: None,
    };
    let Some(path) = Path::from_leaf(&chain.certificates) else { return judgement };
    let (used, trusted) = path.judged(roots, wall);
    judgement.trusted = trusted;
    let Some(first) = used.iter().min_by_key(|c| c.parsed.validity().not_after.timestamp()) else {
        return judgement;
    };

    let now = wall.as_unix_secs();
    let until = first.parsed.validity().not_after;
    let expired = until.timestamp() < now;
    let early = used.iter().any(|c| c.parsed.validity().not_before.timestamp() > now);
    let misnamed = name.is_some_and(|name| !is_for(path.leaf.der, name));
    judgement.reason = [
        (expired, Reason::CertExpired),
        (early, Reason::CertNotYetValid),
        (misnamed, Reason::CertNameMismatch),
        (trusted == Some(false), Reason::CertUntrusted),
    ]
    .into_iter()
    .find_map(|(holds, reason)| holds.then_some(reason));

    judgement.not_after = WallTime::from_unix_secs(until.timestamp());
    let leaf = &path.leaf.parsed;
    judgement.leaf = Some(Leaf {
        subject: Text::from(leaf.subject().to_string().as_str()),
        issuer: Text::from(leaf.issuer().to_string().as_str()),
        names: names(leaf),
        not_before: rfc3339(leaf.validity().not_before),
        not_after: rfc3339(until),
        expires_first: (first.der != path.leaf.der)
            .then(|| Text::from(first.parsed.subject().to_string().as_str())),
        until: until.timestamp(),
        days_left: days(until.timestamp(), now),
        self_signed: path.leaf.is_self_issued(),
        rsa_bits: match leaf.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        },
    });
    judgement
}

/// Whole days from `now` until then, towards zero.
fn days(until: i64, now: i64) -> i64 {
    until.saturating_sub(now) / 86_400
}

/// A certificate and its parts.
#[derive(Clone)]
struct Certificate<'a> {
    der: &'a CertificateDer<'static>,
    parsed: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    fn parse(der: &'a CertificateDer<'static>) -> Option<Self> {
        X509Certificate::from_der(der).ok().map(|(_, parsed)| Self { der, parsed })
    }

    fn is_self_issued(&self) -> bool {
        self.parsed.subject().as_raw() == self.parsed.issuer().as_raw()
    }
}

/// The leaf and its issuers as far as the peer sent them, each the issuer of the one before.
struct Path<'a> {
    leaf: Certificate<'a>,
    issuers: Vec<Certificate<'a>>,
}

impl<'a> Path<'a> {
    fn from_leaf(certificates: &'a [CertificateDer<'static>]) -> Option<Self> {
        let (leaf, rest) = certificates.split_first()?;
        let leaf = Certificate::parse(leaf)?;
        let mut sent: Vec<_> = rest.iter().take(MAX_PATH).filter_map(Certificate::parse).collect();
        let mut issuers: Vec<Certificate<'a>> = Vec::new();
        loop {
            let last = issuers.last().unwrap_or(&leaf);
            let next = sent.iter().position(|c| {
                !last.is_self_issued() && c.parsed.subject().as_raw() == last.parsed.issuer().as_raw()
            });
            // Every turn takes one certificate away, so a ring of issuers ends too.
            let Some(next) = next else { break };
            issuers.push(sent.swap_remove(next));
        }
        Some(Self { leaf, issuers })
    }

    /// The part of the path that a client uses, and whether that ends at a root: the shortest part
    /// that does, or all of it if none does or trust is not judged.
    fn judged(&self, roots: &Roots, wall: WallTime) -> (Vec<Certificate<'a>>, Option<bool>) {
        let all = || std::iter::once(&self.leaf).chain(&self.issuers);
        let (anchors, pinned) = match roots {
            Roots::None => return (all().cloned().collect(), None),
            Roots::Pem(store) => (store.anchors.clone(), store.certificates.contains(self.leaf.der)),
            Roots::Native => (native(), false),
        };
        if pinned {
            // The very certificate is configured: no path is needed, and a self-signed authority
            // certificate used as the server's own is what many appliances come with.
            return (vec![self.leaf.clone()], Some(true));
        }
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(anchors, provider()).build() else {
            return (all().cloned().collect(), None);
        };
        let intermediates: Vec<_> = self.issuers.iter().map(|c| c.der.clone()).collect();
        let trusted = |count: usize| {
            let sent = intermediates.get(..count).unwrap_or_default();
            // Names are judged apart, so any name does, and its mismatch comes after trust is settled.
            let name = ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into());
            matches!(
                verifier.verify_server_cert(self.leaf.der, sent, &name, &[], unix_time(wall)),
                Ok(_)
                    | Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
                    ))
            )
        };
        match (0..=intermediates.len()).find(|count| trusted(*count)) {
            Some(count) => (all().take(count + 1).cloned().collect(), Some(true)),
            None => (all().cloned().collect(), Some(false)),
        }
    }
}

/// Whether the certificate is for that host name or literal address.
fn is_for(der: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name.trim_end_matches('.')) else { return false };
    ParsedCertificate::try_from(der)
        .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, &name).is_ok())
}

fn names(leaf: &X509Certificate<'_>) -> Vec<Text> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(general_name).take(crate::sample::Details::MAX).collect()
}

fn general_name(name: &GeneralName<'_>) -> Option<Text> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some(Text::from(*name))
        }
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from));
            Some(address.map_or_else(|_| Text::hex(octets), |ip| Text::from(ip.to_string().as_str())))
        }
        _ => None,
    }
}

/// RFC 3339 in UTC, for every year that ASN.1 can write.
fn rfc3339(time: ASN1Time) -> String {
    let time = time.to_datetime().to_utc();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
pub(crate) mod tests;
