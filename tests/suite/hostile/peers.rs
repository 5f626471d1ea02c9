//! Peers that fill every field they can with the texts of the corpus, one after the other.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use vpnprobe::wire::l2tp;
use vpnprobe::wire::stun;

/// What begins each text of the corpus, with its number between: so one can tell that it has arrived.
pub const MARK: &str = "zq";
/// The corpus: what terminals, pages, labels, JSON, logs and monitoring take for their own.
pub fn corpus() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\x1b[31mred",
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\link",
        "\x1bP$q\"p\x1b\\",
        "\u{9b}31m",
        "\x08\x08\x08gone",
        "\r\n2026-11-22T00:00:00Z ERROR forged",
        "\nforged 1",
        "\rforged",
        "\x0b\x0c",
        "\0nul",
        "\x7f",
        "\u{85}next",
        "\u{2028}line\u{2029}paragraph",
        "\u{202e}txt.exe",
        "\u{2066}a\u{2069}\u{200f}\u{200e}",
        "\u{61c}mark",
        "\u{200b}\u{200d}\u{2060}\u{feff}none",
        "\u{e0041}\u{e0042}tags",
        "\u{fff9}a\u{fffa}b\u{fffb}",
        "\u{ad}soft",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style><b>",
        "<!--",
        "]]>",
        "&lt;b&gt;",
        "&#x3c;b",
        "javascript:alert(1)",
        "\"} 1\nforged_metric 1",
        "\\\" \\n \\",
        "# HELP forged x",
        "{label=\"x\"}",
        "\",\"forged\":\"x",
        "\\u0000\\ud800",
        "{{ 7*7 }}",
        "{% raw %}",
        "${7*7}",
        "$(id)`id`",
        "%s%n%x",
        "../../etc/passwd",
        "OK | a=1;2;3;4",
        "|'a b'=1",
        "a;b,c",
        "=cmd()",
        "@here <!channel>",
        "[x](http://x)",
        "```",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("long ".repeat(60));
    texts.push("\u{1f600}".repeat(40));
    texts.push("\x1b[31m\r\n\0\u{202e}<script>\"'|\\\u{2028}&".to_owned());
    texts.into_iter().enumerate().map(|(n, text)| format!("{MARK}{n:02}{MARK}{text}")).collect()
}

/// Peers that answer each question with the next text of the corpus.
pub struct Peers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Each has an address of its own, and so a budget.
    pub ports: BTreeMap<&'static str, SocketAddr>,
}

/// Gives the texts in turn.
#[derive(Clone)]
struct Turns(Arc<Vec<String>>, Arc<AtomicUsize>);

impl Turns {
    fn new() -> Self {
        Self(Arc::new(corpus()), Arc::default())
    }

    /// The next text, at most so many bytes of it.
    fn next(&self, most: usize) -> String {
        let text = &self.0[self.1.fetch_add(1, Ordering::Relaxed) % self.0.len()];
        let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        text[..end].to_owned()
    }
}

impl Peers {
    pub fn start() -> Self {
        let mut peers = Self { stop: Arc::default(), threads: Vec::new(), ports: BTreeMap::new() };
        peers.udp("stun", |question, text| {
            let asked = stun::Message::decode(question).ok()?;
            let mut answer = asked.clone();
            answer.kind = stun::message::ERROR;
            let code = [&[0, 0, 4, 20][..], text.as_bytes()].concat();
            answer.attributes = vec![
                (stun::attribute::SOFTWARE, text.as_bytes().to_vec()),
                (stun::attribute::ERROR_CODE, code),
            ];
            answer.fingerprint = true;
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            Some(bytes)
        });
        peers.udp("l2tp", |question, text| {
            let asked = l2tp::Message::decode(question).ok()?;
            let avp = |attribute, value: &[u8]| l2tp::Avp {
                mandatory: false,
                hidden: false,
                vendor: 0,
                attribute,
                value: value.to_vec(),
            };
            let tunnel_id = asked.number(l2tp::attribute::ASSIGNED_TUNNEL_ID)?;
            let mut answer = l2tp::Message { tunnel_id, nr: asked.ns + 1, ..l2tp::Message::default() };
            answer.avps = vec![
                avp(l2tp::attribute::MESSAGE_TYPE, &l2tp::message::SCCRP.to_be_bytes()),
                avp(l2tp::attribute::PROTOCOL_VERSION, &[1, 0]),
                avp(l2tp::attribute::HOST_NAME, text.as_bytes()),
                avp(l2tp::attribute::FRAMING_CAPABILITIES, &[0, 0, 0, 3]),
                avp(l2tp::attribute::ASSIGNED_TUNNEL_ID, &[0, 7]),
                avp(l2tp::attribute::VENDOR_NAME, text.as_bytes()),
            ];
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            Some(bytes)
        });
        peers.udp("dns", |question, text| {
            let mut end = 12;
            while *question.get(end)? != 0 {
                end += usize::from(question[end]) + 1;
            }
            let mut answer = question.get(..end + 5)?.to_vec();
            // RFC 1035, 4.1: an answer, and in it a name of the question's, a CNAME to the text, an OPT.
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1]);
            let label = &text.as_bytes()[..text.len().min(60)];
            let length = u8::try_from(label.len()).ok()?;
            answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, length + 2, length]);
            answer.extend(label);
            answer.push(0);
            // RFC 6891, 6.1.2; RFC 8914, 2: why, in words; RFC 5001, 2.3: which server.
            let option = |code: u8| {
                [&[0, code, 0][..], &[u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat()
            };
            let why = [&[0, 15, 0, u8::try_from(text.len() + 2).ok()?, 0, 0][..], text.as_bytes()].concat();
            let options = [why, option(3)].concat();
            answer.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
            answer.extend(u16::try_from(options.len()).ok()?.to_be_bytes());
            answer.extend(options);
            Some(answer)
        });
        peers.tcp("http", |mut stream, text| {
            let mut asked = [0; 4096];
            if !matches!(stream.read(&mut asked), Ok(1..)) {
                return;
            }
            // A line feed in a head is its end: the text is at the end of its line.
            let answer = format!(
                "HTTP/1.1 404 {text}\r\nlocation: {text}\r\nserver: {text}\r\ncontent-length: 0\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes());
        });
        let certificates: Mutex<BTreeMap<String, Arc<ServerConfig>>> = Mutex::default();
        peers.tcp("tls", move |mut stream, text| {
            let config =
                certificates.lock().unwrap().entry(text.clone()).or_insert_with(|| certified(&text)).clone();
            let mut connection = ServerConnection::new(config).unwrap();
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        });
        peers
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 1, u8::try_from(self.ports.len()).unwrap() + 1)
    }

    fn udp(&mut self, name: &'static str, answer: fn(&[u8], &str) -> Option<Vec<u8>>) {
        let socket = UdpSocket::bind((self.address(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        self.ports.insert(name, socket.local_addr().unwrap());
        let (stop, turns) = (Arc::clone(&self.stop), Turns::new());
        self.threads.push(std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
                if let Some(answer) = answer(&bytes[..length], &turns.next(200)) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        }));
    }

    fn tcp(&mut self, name: &'static str, answer: impl Fn(TcpStream, String) + Send + 'static) {
        let listener = TcpListener::bind((self.address(), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.ports.insert(name, listener.local_addr().unwrap());
        let (stop, turns) = (Arc::clone(&self.stop), Turns::new());
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                answer(stream, turns.next(200));
            }
        }));
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A certificate in whose every name the text is.
fn certified(text: &str) -> Arc<ServerConfig> {
    let mut parameters = CertificateParams::default();
    // RFC 5280, appendix A.1: a common name has at most 64 characters. Nobody holds a peer to that.
    for kind in [DnType::CommonName, DnType::OrganizationName] {
        parameters.distinguished_name.push(kind, text);
    }
    let ascii = text.chars().filter(char::is_ascii).collect::<String>();
    parameters.subject_alt_names = vec![
        SanType::DnsName(ascii.as_str().try_into().unwrap()),
        SanType::URI(ascii.as_str().try_into().unwrap()),
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
}
