//! The web listener: what clients send, over one connection that ends.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vpnprobe::export::http::{App, BoxFuture, Daemon, Limits, ProbeError, ProbeNow, TargetRow, one};
use vpnprobe::sample::{Outcome, Report};

use crate::{Targets, page, text_canary};

/// The targets here.
pub const TARGETS: Targets = &[("http_server", http_server)];

/// A daemon of one target.
struct Stub;

impl Daemon for Stub {
    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn probe(&self, target: &str, _: &str, _: Duration) -> BoxFuture<'_, Result<ProbeNow, ProbeError>> {
        let known = target == "hq";
        Box::pin(async move {
            if !known {
                return Err(ProbeError::Target);
            }
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
            let report = Report::timed(Outcome::OK, Duration::from_millis(12));
            Ok(ProbeNow { address, took: Duration::from_millis(20), report })
        })
    }

    fn config_text(&self) -> String {
        "targets: {}\n".to_owned()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn targets(&self) -> Vec<TargetRow> {
        let (vpn, probes) = (vec!["ipsec".to_owned()], vec!["ike".to_owned()]);
        vec![TargetRow { name: "hq".to_owned(), addresses: vec!["192.0.2.1".to_owned()], vpn, probes }]
    }
}

/// How often the server may go on before the client hangs up: a request is read and answered in one go, and a
/// few may follow one another.
const PATIENCE: usize = 8;

/// Bytes that a client sends before it hangs up. It is answered in HTTP or not at all, and the connection
/// ends.
pub fn http_server(bytes: &[u8]) {
    let answer = answer(bytes);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "no HTTP");
    // Behind a request line that was taken, where one header or the other may say anything.
    if answer.starts_with(b"HTTP/1.1 200") {
        text_canary(bytes, 84, 76);
    }
}

/// What the server answers to these bytes.
fn answer(bytes: &[u8]) -> Vec<u8> {
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> =
            RefCell::new(tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());
        static APP: Arc<App> = Arc::new(App::new(
            page::registry(b"vendor"),
            Arc::new(Stub),
            Duration::from_secs(3),
            Limits::default(),
        ));
    }
    let app = APP.with(Arc::clone);
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let client = async {
                let _ = client.write_all(bytes).await;
                // Who hangs up at once is not answered.
                for _ in 0..PATIENCE {
                    tokio::task::yield_now().await;
                }
                let _ = client.shutdown().await;
                let mut answer = Vec::new();
                let _ = client.read_to_end(&mut answer).await;
                answer
            };
            let both = async { tokio::join!(one(server, app), client).1 };
            tokio::time::timeout(Duration::from_secs(5), both).await.expect("the connection ends")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered() {
        for request in crate::list::seeds("http_server") {
            let shown = String::from_utf8_lossy(&request).into_owned();
            // The file of an incident is looked for by another thread, which takes its time.
            if !shown.contains("/incidents/") {
                assert!(answer(&request).starts_with(b"HTTP/1."), "{shown}");
            }
        }
    }
}
