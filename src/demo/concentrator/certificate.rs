//! The concentrator's certificates, made anew at each start: an authority, and two of its server
//! certificates, one of which has expired.
//!
//! Invariant: no key is ever written anywhere.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::time::WallTime;

/// The name in the certificates.
pub const NAME: &str = "demo.vpnprobe.test";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the server shows.
pub(super) struct Certificates {
    /// With the certificate that is good for ninety days.
    pub(super) good: Arc<ServerConfig>,
    /// With the one that expired an hour ago.
    pub(super) expired: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    /// If no key can be made.
    pub(super) fn new(wall: WallTime, addresses: &[String]) -> io::Result<Self> {
        let now =
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(wall.as_unix_secs()).unwrap_or(0));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "vpnprobe demo authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - 90 * DAY).into();
        params.not_after = (now + 365 * DAY).into();
        let authority = params.self_signed(&key).map_err(io::Error::other)?;
        let issuer = Issuer::new(params, key);
        let server = |until: SystemTime| -> io::Result<Arc<ServerConfig>> {
            let key = KeyPair::generate().map_err(io::Error::other)?;
            let mut names = vec![NAME.to_owned()];
            names.extend_from_slice(addresses);
            let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
            params.distinguished_name.push(DnType::CommonName, NAME);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            params.not_before = (now - 30 * DAY).into();
            params.not_after = until.into();
            let certificate = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
            let chain: Vec<CertificateDer<'static>> =
                vec![certificate.der().clone(), authority.der().clone()];
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_no_client_auth()
                .with_single_cert(chain, key.into())
                .map(Arc::new)
                .map_err(io::Error::other)
        };
        Ok(Self { good: server(now + 90 * DAY)?, expired: server(now - HOUR)? })
    }
}
