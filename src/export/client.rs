//! Asks a running daemon, over plain HTTP.
//!
//! Invariant: bounded in time and size, whoever answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// All of it may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// One target with all its probes is a fraction of this.
const LARGEST: usize = 16 << 20;

/// Where a daemon is asked: `http://HOST[:PORT][/PREFIX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
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
        const EXPECTED: &str = "expected http://HOST:PORT, for example http://127.0.0.1:10069";
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("only http:// can be asked; ask on the daemon's host itself"),
            _ => return Err(EXPECTED),
        }
        let authority = uri.authority().ok_or(EXPECTED)?;
        if uri.query().is_some() || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(EXPECTED);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), authority: authority.to_string(), prefix })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

/// The body of what is at `path` (with its query) of a daemon. Blocking.
///
/// # Errors
/// Why there is none, for people.
pub fn get(url: &Url, path: &str) -> Result<Vec<u8>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("this host has no means to ask: {error}"))?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(TIMEOUT, ask(url, path)).await;
        asked.unwrap_or_else(|_| Err(format!("{url} did not answer within {} s", TIMEOUT.as_secs())))
    })
}

async fn ask(url: &Url, path: &str) -> Result<Vec<u8>, String> {
    let stream = TcpStream::connect((url.host.as_str(), url.port));
    let stream = stream.await.map_err(|error| format!("no daemon answers at {url}: {error}"))?;
    let broken = |error: hyper::Error| format!("{url} does not answer as a daemon does: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driven = tokio::spawn(connection);
    let request = Request::get(format!("{}{path}", url.prefix))
        .header(header::HOST, url.authority.as_str())
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{url} cannot be asked: {error}"))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(format!("{url} answers {status}"));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| format!("the answer of {url} broke off: {error}"))?;
    driven.abort();
    Ok(body.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_plain_http() {
        let url: Url = "http://[::1]:10069/vpn/".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.to_string().as_str()),
            ("::1", 10069, "http://[::1]:10069/vpn")
        );
        let url: Url = "http://probe.example.jp".parse().unwrap();
        assert_eq!((url.port, url.prefix.as_str()), (80, ""));
        for bad in ["", "127.0.0.1:10069", "https://a", "http://", "ftp://a", "http://a/?b", "http://u@a"] {
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
