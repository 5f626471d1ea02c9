//! The flavours of SSL VPN: what each is asked, and what gives it away.
//!
//! Invariant: a flavour is recognised only by what its own software alone says; a status alone never is.

use crate::wire::http::Head;
use crate::wire::sstp;
use crate::words;

words! {
    /// What speaks at the port. Closed.
    pub enum Flavour {
        /// Cisco AnyConnect (Secure Client) and ocserv.
        Anyconnect = "anyconnect",
        /// Microsoft SSTP.
        Sstp = "sstp",
        /// Fortinet.
        Fortinet = "fortinet",
        /// Palo Alto GlobalProtect.
        Globalprotect = "globalprotect",
        /// Pulse and Ivanti Connect Secure.
        Pulse = "pulse",
        /// SoftEther's own protocol.
        Softether = "softether",
        /// OpenVPN over TCP.
        Openvpn = "openvpn",
    }
}

/// What is asked, and of which flavour; nothing: the front page, which any may give itself away by.
pub(super) struct Question {
    pub flavour: Option<Flavour>,
    page: Page,
}

enum Page {
    Front,
    Anyconnect,
    Sstp,
    Fortinet,
    Gateway,
    Portal,
    Pulse,
    Softether,
    Reset,
}

const fn of(flavour: Flavour, page: Page) -> Question {
    Question { flavour: Some(flavour), page }
}

static GREETING: &[Question] = &[Question { flavour: None, page: Page::Front }];
/// The front page gives most away, and costs no goodwill: ocserv hangs up on the first question that is not
/// its own, SoftEther on what follows a body that it did not ask for. SSTP comes last of those inside TLS,
/// for it takes the connection over. OpenVPN needs one of its own.
static ALL: &[Question] = &[
    Question { flavour: None, page: Page::Front },
    of(Flavour::Softether, Page::Softether),
    of(Flavour::Anyconnect, Page::Anyconnect),
    of(Flavour::Fortinet, Page::Fortinet),
    of(Flavour::Globalprotect, Page::Gateway),
    of(Flavour::Globalprotect, Page::Portal),
    of(Flavour::Pulse, Page::Pulse),
    of(Flavour::Sstp, Page::Sstp),
    of(Flavour::Openvpn, Page::Reset),
];
static ANYCONNECT: &[Question] = &[of(Flavour::Anyconnect, Page::Anyconnect)];
static SSTP: &[Question] = &[of(Flavour::Sstp, Page::Sstp)];
static FORTINET: &[Question] = &[of(Flavour::Fortinet, Page::Fortinet)];
static GLOBALPROTECT: &[Question] =
    &[of(Flavour::Globalprotect, Page::Gateway), of(Flavour::Globalprotect, Page::Portal)];
static PULSE: &[Question] = &[of(Flavour::Pulse, Page::Pulse)];
static SOFTETHER: &[Question] = &[of(Flavour::Softether, Page::Softether)];
static OPENVPN: &[Question] = &[of(Flavour::Openvpn, Page::Reset)];

/// What is asked of a declared flavour, or of one that is to be found out.
pub(super) const fn questions(declared: Option<Flavour>, identify: bool) -> &'static [Question] {
    match declared {
        None if identify => ALL,
        None => GREETING,
        Some(Flavour::Anyconnect) => ANYCONNECT,
        Some(Flavour::Sstp) => SSTP,
        Some(Flavour::Fortinet) => FORTINET,
        Some(Flavour::Globalprotect) => GLOBALPROTECT,
        Some(Flavour::Pulse) => PULSE,
        Some(Flavour::Softether) => SOFTETHER,
        Some(Flavour::Openvpn) => OPENVPN,
    }
}

impl Question {
    /// The request; empty for OpenVPN's, which is none of HTTP.
    pub(super) fn bytes(&self, host: &str, correlation: &[u8; 16]) -> Vec<u8> {
        let version = env!("CARGO_PKG_VERSION");
        let agent = match self.page {
            Page::Anyconnect => "AnyConnect vpnprobe",
            Page::Fortinet => "Mozilla/5.0 SV1",
            Page::Gateway | Page::Portal => "PAN GlobalProtect",
            _ => "vpnprobe",
        };
        let (line, fields, body) = match self.page {
            Page::Reset => return Vec::new(),
            Page::Front => ("GET / HTTP/1.1", String::new(), String::new()),
            Page::Anyconnect => (
                "POST / HTTP/1.1",
                "X-Transcend-Version: 1\r\nX-Aggregate-Auth: 1\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n"
                    .to_owned(),
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<config-auth client=\"vpn\" type=\"init\">\
                     <version who=\"vpn\">v5.01</version><device-id>linux-64</device-id>\
                     <group-access>https://{host}</group-access></config-auth>"
                ),
            ),
            Page::Fortinet => ("GET /remote/login HTTP/1.1", String::new(), String::new()),
            Page::Gateway => (
                "POST /ssl-vpn/prelogin.esp?tmp=tmp&clientVer=4100&clientos=Linux HTTP/1.1",
                "Content-Type: application/x-www-form-urlencoded\r\n".to_owned(),
                String::new(),
            ),
            Page::Portal => (
                "POST /global-protect/prelogin.esp?tmp=tmp&clientVer=4100&clientos=Linux HTTP/1.1",
                "Content-Type: application/x-www-form-urlencoded\r\n".to_owned(),
                String::new(),
            ),
            Page::Pulse => (
                "GET / HTTP/1.1",
                "Content-Type: EAP\r\nUpgrade: IF-T/TLS 1.0\r\nConnection: Upgrade\r\n".to_owned(),
                String::new(),
            ),
            Page::Softether => (
                "POST /vpnsvc/connect.cgi HTTP/1.1",
                "Content-Type: image/jpeg\r\n".to_owned(),
                "VPNCONNECT".to_owned(),
            ),
            Page::Sstp => {
                let fields = format!(
                    "SSTPCORRELATIONID: {}\r\nContent-Length: {}\r\n",
                    guid(correlation),
                    sstp::CONTENT_LENGTH
                );
                return format!("{}\r\nHost: {host}\r\n{fields}\r\n", sstp::REQUEST_LINE).into_bytes();
            }
        };
        let length = match (&self.page, body.len()) {
            (Page::Front | Page::Fortinet, 0) => String::new(),
            (_, length) => format!("Content-Length: {length}\r\n"),
        };
        let agent = if agent == "vpnprobe" { format!("vpnprobe/{version}") } else { agent.to_owned() };
        format!("{line}\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n{fields}{length}\r\n{body}")
            .into_bytes()
    }
}

/// `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`.
fn guid(octets: &[u8; 16]) -> String {
    let mut text = String::from("{");
    for (at, octet) in octets.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{octet:02X}"));
    }
    text.push('}');
    text
}

fn has(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|window| window == word)
}

/// What an answer gives away; `asked` is the flavour whose request it answers.
pub(super) fn recognise(asked: Option<Flavour>, head: &Head, body: &[u8]) -> Option<Flavour> {
    let location = head.text("location").unwrap_or_default();
    let cookies = || head.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value);
    let cookie = |name: &[u8]| cookies().any(|value| value.starts_with(name));
    // The path behind a host, or the location itself.
    let path = location.split_once("://").map_or(location, |(_, rest)| rest.split_once('/').map_or("", |(_, it)| it));
    let path = path.trim_start_matches('/');
    let upgrade = head.text("upgrade").unwrap_or_default();
    let length = head.text("content-length") == Some("18446744073709551615");
    let found = [
        (asked == Some(Flavour::Sstp) && head.status == 200 && length, Flavour::Sstp),
        (head.status == 101 && upgrade.to_ascii_uppercase().starts_with("IF-T/TLS"), Flavour::Pulse),
        (head.field("x-transcend-version").is_some() || has(body, b"<config-auth"), Flavour::Anyconnect),
        (path.starts_with("+CSCOE+/") || cookie(b"webvpn"), Flavour::Anyconnect),
        (cookie(b"SVPNCOOKIE") || has(body, b"fgt_lang") || path.starts_with("remote/login"), Flavour::Fortinet),
        (has(body, b"<prelogin-response>") || path.starts_with("global-protect/"), Flavour::Globalprotect),
        (cookie(b"DSSignInURL") || cookie(b"DSSIGNIN") || path.starts_with("dana-na/"), Flavour::Pulse),
        (
            asked == Some(Flavour::Softether) && head.status == 200 && has(body, b"\0\0\0\x06hello") && has(body, b"\0\0\0\x07random"),
            Flavour::Softether,
        ),
    ];
    found.into_iter().find_map(|(holds, flavour)| holds.then_some(flavour))
}
