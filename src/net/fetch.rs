//! One request to a daemon of ours, in plain HTTP.
//!
//! Invariant: no redirect is followed, and no more is read than was asked for.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// As long as a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands at an `http://` address: the status and a body of at most `most` bytes. Blocking.
///
/// # Errors
/// When the address is none, nobody answers in time, or the answer is no HTTP or too long.
pub fn fetch(url: &str, most: usize) -> io::Result<(u16, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetched = runtime.block_on(async { tokio::time::timeout(PATIENCE, get(url, most)).await });
    fetched.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn get(url: &str, most: usize) -> io::Result<(u16, Vec<u8>)> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong("this is no URL"))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("only http:// can be asked; on the daemon's own host use --state-dir"));
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let request = Request::get(path).header(header::HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes().to_vec()))
    };
    tokio::pin!(asking);
    tokio::select! {
        answered = &mut asking => answered,
        // The connection may end as soon as the answer is there.
        _ = connection => asking.await,
    }
}
