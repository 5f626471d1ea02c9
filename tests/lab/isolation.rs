//! A target that never answers, one that drips and one that floods delay no other.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::Lab;

const CONFIG: &str = "\
defaults: {timeout: 1s}
targets:
  good:
    address: 203.0.113.10
    tls: {server_name: vpn.example.test, ca_file: STATE/pki/ca.crt}
    dns: {name: vpn.example.test, record: A}
    probes: {icmp: {interval: 1s}, ike: {interval: 1s}, tcp: {port: 443, interval: 5s}, tls: {interval: 10s}, dns: {interval: 1s}}
  silent:
    address: 203.0.113.11
    dns: {name: vpn.example.test, record: A}
    probes: {icmp: {interval: 1s}, ike: {interval: 1s}, tcp: {port: 443, interval: 5s}, tls: {interval: 10s}, dns: {interval: 1s}}
  drips:
    address: 203.0.113.12
    probes: {tls: {interval: 10s}, tcp: {port: 443, interval: 10s}, openvpn_tcp: {interval: 10s}}
  floods:
    address: 203.0.113.1
    dns: {name: vpn.example.test, record: A}
    probes: {ike: {interval: 1s}, dns: {interval: 1s}, tls: {interval: 10s}, openvpn_tcp: {interval: 10s}}
";

/// What a peer does with a connection, until it is told to stop.
pub type Manner = fn(TcpStream, &AtomicBool) -> std::io::Result<()>;

#[test]
fn bad_targets_delay_no_other() {
    let lab = Lab::with(&["strongswan", "nginx", "unbound"]);
    lab.script("fault drop ip daddr 203.0.113.11");
    let peers = Peers::default();
    for port in [443, 1194] {
        peers.tcp(&lab, "conc", &format!("203.0.113.12:{port}"), drip);
        peers.tcp(&lab, "r2", &format!("203.0.113.1:{port}"), pour);
    }
    for port in [500, 53] {
        // Where no strongSwan has the port.
        peers.flood(&lab, "r2", &format!("203.0.113.1:{port}"));
    }
    let mut daemon = lab.serve(CONFIG);
    daemon.ready();
    std::thread::sleep(Duration::from_secs(30));
    let metrics = daemon.metrics();
    let good = "target=\"good\"";
    for (probe, least) in [("icmp", 28.0), ("ike", 28.0), ("dns", 28.0), ("tcp", 5.0), ("tls", 2.0)] {
        let labels = [good, &format!("probe=\"{probe}\"")];
        let sent = metrics.get("vpnprobe_probes_total", &labels);
        assert!(sent >= least, "{probe}: {sent} probes in 30 s\n{}", metrics.0);
        assert_eq!(metrics.get("vpnprobe_probe_failures_total", &labels), 0.0, "{probe}\n{}", metrics.0);
        let count = metrics.get("vpnprobe_probe_rtt_seconds_count", &labels);
        let mean = metrics.get("vpnprobe_probe_rtt_seconds_sum", &labels) / count;
        assert!(count >= sent - 1.0, "{probe}: {count} of {sent} answered");
        assert!(mean < 0.05, "{probe}: {mean} s on average");
    }
    // Nothing that the others send is taken for an answer.
    for (target, probes) in [
        ("silent", &["icmp", "ike", "tcp", "tls", "dns"][..]),
        ("drips", &["tls", "openvpn_tcp"]),
        ("floods", &["ike", "dns", "tls", "openvpn_tcp"]),
    ] {
        for probe in probes {
            let labels = [&*format!("target=\"{target}\""), &format!("probe=\"{probe}\"")];
            assert_ne!(metrics.sum("vpnprobe_probe_up", &labels), Some(1.0), "{labels:?}\n{}", metrics.0);
            let sent = metrics.get("vpnprobe_probes_total", &labels);
            assert!(sent >= 1.0, "{labels:?}: {sent} probes in 30 s");
        }
    }
    assert!(metrics.get("vpnprobe_unmatched_packets_total", &[]) > 1000.0, "the flood is counted");
    daemon.stop();
}

/// Servers of a few lines each; they end with this value.
#[derive(Default)]
pub struct Peers {
    stop: Arc<AtomicBool>,
}

impl Peers {
    /// What ends them.
    pub fn stop(&self) -> &Arc<AtomicBool> {
        &self.stop
    }

    /// Something that takes connections.
    pub fn tcp(&self, lab: &Lab, role: &str, address: &str, manner: Manner) {
        let listener = lab.within(role, || TcpListener::bind(address).unwrap());
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::clone(&self.stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let stop = Arc::clone(&stop);
                        std::thread::spawn(move || manner(stream, &stop));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
    }

    /// A thousand datagrams of nonsense for each that comes.
    fn flood(&self, lab: &Lab, role: &str, address: &str) {
        let socket = lab.within(role, || UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = Arc::clone(&self.stop);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                for n in 0..1000 {
                    // Ever other bytes changed in what was asked, and each time another length.
                    buffer[n % length] ^= 0x5a;
                    let _ = socket.send_to(&buffer[..length - n % length], from);
                }
            }
        });
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A TLS record, or an OpenVPN packet, of 16 KiB that comes one byte at a time.
fn drip(mut stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(&[0x16, 0x03, 0x03, 0x3f, 0xff, 0x02])?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&[0])?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Nonsense as fast as the peer takes it.
fn pour(mut stream: TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let _ = stream.read(&mut [0; 16])?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&[0x17; 16384])?;
    }
    Ok(())
}
