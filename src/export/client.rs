//! Asks a running daemon, over HTTP or TLS.
//!
//! Invariants: bounded in time and size, whoever answers; a password goes to nobody whose certificate is
//! not trusted, and over plain HTTP only where the user said `http://`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// All of it may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// One target with all its probes is a fraction of this.
const LARGEST: usize = 16 << 20;

/// Where a daemon is asked: `http://HOST[:PORT][/PREFIX]`, or with `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    prefix: String,
}

impl Url {
    /// The daemon that listens at this address, on this host if it is every address.
    #[must_use]
    pub fn of_listener(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let address = SocketAddr::new(ip, address.port());
        Self {
            tls: false,
            host: ip.to_string(),
            port: address.port(),
            authority: address.to_string(),
            prefix: String::new(),
        }
    }
}

impl std::str::FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected http://HOST:PORT or https://HOST:PORT, for example http://127.0.0.1:10069";
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(EXPECTED),
        };
        let authority = uri.authority().ok_or(EXPECTED)?;
        if uri.query().is_some() || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(EXPECTED);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port, authority: authority.to_string(), prefix })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http{}://{}{}", if self.tls { "s" } else { "" }, self.authority, self.prefix)
    }
}

/// How a daemon lets one in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Who may have signed its certificate, or that certificate itself, PEM; nothing for the roots of the
    /// system.
    pub ca_file: Option<PathBuf>,
    /// A name, and the file that its password is in.
    pub login: Option<(String, PathBuf)>,
}

impl Access {
    /// The value of an `Authorization` header (RFC 7617, section 2).
    fn authorization(&self) -> Result<Option<String>, String> {
        let Some((user, file)) = &self.login else { return Ok(None) };
        let password = std::fs::read_to_string(file)
            .map_err(|error| format!("the password cannot be read from {}: {error}", file.display()))?;
        let password = password.trim_end_matches(['\r', '\n']);
        let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Ok(Some(format!("Basic {both}")))
    }
}

/// The body of what is at `path` (with its query) of a daemon. Blocking.
///
/// # Errors
/// Why there is none, for people.
pub fn get(url: &Url, access: &Access, path: &str) -> Result<Vec<u8>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("this host has no means to ask: {error}"))?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(TIMEOUT, ask(url, access, path)).await;
        asked.unwrap_or_else(|_| Err(format!("{url} did not answer within {} s", TIMEOUT.as_secs())))
    })
}

async fn ask(url: &Url, access: &Access, path: &str) -> Result<Vec<u8>, String> {
    let authorization = access.authorization()?;
    let connector = if url.tls { Some(connector(access.ca_file.as_deref())?) } else { None };
    let stream = TcpStream::connect((url.host.as_str(), url.port));
    let stream = stream.await.map_err(|error| format!("no daemon answers at {url}: {error}"))?;
    let Some(connector) = connector else { return converse(url, authorization, path, stream).await };
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| format!("{} is no name that a certificate can have", url.host))?;
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| format!("{url} is not who it should be: {error}"))?;
    converse(url, authorization, path, stream).await
}

async fn converse<S>(
    url: &Url,
    authorization: Option<String>,
    path: &str,
    stream: S,
) -> Result<Vec<u8>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("{url} does not answer as a daemon does: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driven = tokio::spawn(connection);
    let mut request = Request::get(format!("{}{path}", url.prefix))
        .header(header::HOST, url.authority.as_str())
        .header(header::ACCEPT, "application/json");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|error| format!("{url} cannot be asked: {error}"))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        return Err(format!("{url} asks for a name and a password: --url.user and --url.password-file"));
    }
    if status != StatusCode::OK {
        return Err(format!("{url} answers {status}"));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| format!("the answer of {url} broke off: {error}"))?;
    driven.abort();
    Ok(body.to_bytes().to_vec())
}

/// Trusts the certificates of a file, as roots or as the daemon's own, else the roots of the system.
fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut pinned = Vec::new();
    let roots = match ca_file {
        None => crate::probe::certificate::native(),
        Some(file) => {
            let bad = |error: &dyn std::fmt::Display| {
                format!("the certificate cannot be read from {}: {error}", file.display())
            };
            let text = std::fs::read(file).map_err(|error| bad(&error))?;
            pinned = CertificateDer::pem_slice_iter(&text)
                .collect::<Result<_, _>>()
                .map_err(|error| bad(&error))?;
            if pinned.is_empty() {
                return Err(bad(&"there is none in PEM"));
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(pinned.clone());
            Arc::new(roots)
        }
    };
    let judge = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let judge = judge.map_err(|error| format!("no certificate can be trusted: {error}"))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be spoken: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { pinned, judge }))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// As the web's judge does it; a certificate that is in the file itself, as a self-signed one is, counts
/// whatever name and dates it has.
#[derive(Debug)]
struct Pinned {
    pinned: Vec<CertificateDer<'static>>,
    judge: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|known| known == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_whether_over_tls() {
        let url: Url = "http://[::1]:10069/vpn/".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.to_string().as_str()),
            ("::1", 10069, "http://[::1]:10069/vpn")
        );
        let url: Url = "http://probe.example.jp".parse().unwrap();
        assert_eq!((url.port, url.prefix.as_str()), (80, ""));
        let url: Url = "https://probe.example.jp/".parse().unwrap();
        assert_eq!((url.port, url.to_string().as_str()), (443, "https://probe.example.jp"));
        for bad in ["", "127.0.0.1:10069", "https://", "http://", "ftp://a", "http://a/?b", "http://u@a"] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
        for (listen, asked) in [
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("192.0.2.1:1", "http://192.0.2.1:1"),
        ] {
            assert_eq!(Url::of_listener(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
