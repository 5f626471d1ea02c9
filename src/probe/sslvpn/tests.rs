//! Servers of every flavour, scripted from what the real ones and their clients' sources say.
#![expect(clippy::unnecessary_wraps, reason = "an answer may be to hang up")]

use super::*;
use crate::probe::Settings as All;
use crate::probe::certificate::tests::{Authority, NAME};
use crate::probe::conversation::tests::{MILLI, Server, Talk, detail, spec, talk};
use crate::wire::openvpn::Acks;

fn run(flavour: Option<Flavour>, form: usize, answer: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Talk {
    let root = Authority::root();
    let config = root.server((2026, 1, 1), (2027, 1, 1)).config(rustls::ALL_VERSIONS);
    let settings = Settings { flavour, server_name: None, roots: root.roots() };
    let spec = spec("sslvpn", Some(NAME), All { sslvpn: settings, ..All::default() });
    let server = if flavour == Some(Flavour::Openvpn) { Server::CLEAR } else { Server::tls(config) };
    talk(&spec, form, &server, answer)
}

fn page(head: &str, body: &str) -> Option<Vec<u8>> {
    Some(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// What nginx says to anything.
fn nginx(_: &[u8]) -> Option<Vec<u8>> {
    page("HTTP/1.1 405 Not Allowed\r\nServer: nginx/1.22.1\r\nContent-Type: text/html", "<html>405</html>")
}

/// MS-SSTP 4.1's head, and a Call Connect Ack (2.2.10).
fn sstp(said: &[u8]) -> Option<Vec<u8>> {
    if said.starts_with(b"SSTP_DUPLEX_POST ") {
        return Some(
            b"HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\nServer: Microsoft-HTTPAPI/2.0\r\n\r\n".to_vec(),
        );
    }
    if said.starts_with(&[0x10, 1, 0, 14, 0, 1]) {
        let mut ack = vec![0x10, 1, 0, 0x30, 0, 2, 0, 1, 0, 4, 0, 0x28, 0, 0, 0, 2];
        ack.extend([9; 32]);
        return Some(ack);
    }
    Some(Vec::new())
}

/// What each flavour answers to its own question.
fn server(flavour: Flavour, said: &[u8]) -> Option<Vec<u8>> {
    let said = String::from_utf8_lossy(said).into_owned();
    let starts = |text: &str| said.starts_with(text);
    match flavour {
        Flavour::Anyconnect if starts("POST / ") && said.contains("<config-auth client=\"vpn\" type=\"init\">") => page(
            "HTTP/1.1 200 OK\r\nX-Transcend-Version: 1\r\nContent-Type: text/xml",
            "<?xml version=\"1.0\"?><config-auth client=\"vpn\" type=\"auth-request\"></config-auth>",
        ),
        Flavour::Fortinet if starts("GET /remote/login ") => {
            page("HTTP/1.1 200 OK\r\nSet-Cookie: SVPNCOOKIE=; path=/", "<script>fgt_lang</script>")
        }
        Flavour::Globalprotect if starts("POST /global-protect/prelogin.esp?") => {
            page("HTTP/1.1 200 OK", "<prelogin-response><status>Success</status></prelogin-response>")
        }
        Flavour::Pulse if said.contains("Upgrade: IF-T/TLS 1.0\r\n") => {
            Some(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: IF-T/TLS 1.0\r\n\r\n".to_vec())
        }
        Flavour::Softether if starts("POST /vpnsvc/connect.cgi ") && said.ends_with("VPNCONNECT") => {
            page("HTTP/1.1 200 OK", // How SoftEther 5.01's answer begins (captured).
                "\0\0\0\u{5}\0\0\0\u{6}build\0\0\0\0\0\0\0\u{1}\0\0%\u{4a}\0\0\0\u{6}hello\0\0\0\u{2}\0\0\0\u{1}\0\0\0=SoftEther VPN Server Developer Edition (64 bit) (Open Source)\0\0\0\u{7}random\0\0\0\u{1}")
        }
        _ => page("HTTP/1.1 404 Not Found\r\nServer: x", "no"),
    }
}

const WEB: [Flavour; 5] =
    [Flavour::Anyconnect, Flavour::Fortinet, Flavour::Globalprotect, Flavour::Pulse, Flavour::Softether];

#[test]
fn each_flavour_is_known_by_its_own_answer_and_no_other() {
    for asked in WEB {
        for is in WEB {
            let talk = run(Some(asked), 0, |said| server(is, said));
            let outcome =
                if asked == is { Outcome::OK } else { Outcome::Refused(Reason::WrongFlavour) };
            assert_eq!(talk.report.outcome, outcome, "{asked} asked of {is}");
            assert_eq!(detail(&talk.report, "flavour"), if asked == is { is.as_str() } else { "web_server" });
            assert_eq!((talk.report.rtt, talk.connections), (Some(MILLI), 1));
            let phases: Vec<Phase> = talk.report.phases.iter().map(|(phase, _)| *phase).collect();
            assert_eq!(phases, [Phase::Connect, Phase::Handshake, Phase::FirstByte]);
        }
        let talk = run(Some(asked), 0, nginx);
        assert_eq!(talk.report.outcome, Outcome::Refused(Reason::WrongFlavour), "{asked}");
        assert_eq!(detail(&talk.report, "server"), "nginx/1.22.1");
    }
}

#[test]
fn an_sstp_call_is_requested_acknowledged_and_aborted() {
    let talk = run(Some(Flavour::Sstp), 0, sstp);
    assert_eq!((talk.report.outcome, detail(&talk.report, "flavour")), (Outcome::OK, "sstp"));
    assert_eq!(detail(&talk.report, "call"), "acknowledged");
    let said = String::from_utf8_lossy(&talk.said[0]).into_owned();
    let start = "SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\nHost: vpn.example.test\r\n\
                 SSTPCORRELATIONID: {";
    assert!(said.starts_with(start), "{said}");
    assert!(said.contains("}\r\nContent-Length: 18446744073709551615\r\n\r\n"), "{said}");
    // MS-SSTP 2.2.9 and 2.2.13.
    assert_eq!(talk.said[1], [0x10, 1, 0, 14, 0, 1, 0, 1, 0, 1, 0, 6, 0, 1]);
    assert_eq!(talk.said[2], [0x10, 1, 0, 20, 0, 5, 0, 1, 0, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(talk.said.len(), 3);
    // A web server that says 200 to it is none.
    let talk = run(Some(Flavour::Sstp), 0, |_| page("HTTP/1.1 200 OK", "ok"));
    assert_eq!(talk.report.outcome, Outcome::Refused(Reason::WrongFlavour));
    // One that never answers the call is silent, and no call is open that could be aborted.
    let talk = run(Some(Flavour::Sstp), 0, |said| if said.starts_with(b"SSTP") { sstp(said) } else { Some(vec![]) });
    assert_eq!(talk.report.outcome, Outcome::Lost(Reason::NoAnswer));
    assert_eq!((detail(&talk.report, "waited_for"), talk.said.len()), ("call_connect_ack", 2));
}

#[test]
fn what_it_is_is_found_out_when_nothing_is_declared() {
    for is in WEB {
        let talk = run(None, 1, |said| server(is, said));
        assert_eq!((talk.report.outcome, detail(&talk.report, "flavour")), (Outcome::OK, is.as_str()));
        assert_eq!(talk.connections, 1);
    }
    let talk = run(None, 1, |said| {
        if said.starts_with(b"SSTP") || said.starts_with(&[0x10]) { sstp(said) } else { server(Flavour::Sstp, said) }
    });
    assert_eq!(detail(&talk.report, "flavour"), "sstp");
    // A web server: asked everything, and OpenVPN on a connection of its own.
    let talk = run(None, 1, nginx);
    assert_eq!((talk.report.outcome, detail(&talk.report, "flavour")), (Outcome::OK, "web_server"));
    assert_eq!((talk.connections, talk.said.len()), (2, 8));
    // One that hangs up after each answer is not asked more.
    let talk = run(None, 1, |_| Some(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()));
    assert_eq!((talk.connections, talk.said.len()), (2, 1));
    assert_eq!(talk.report.outcome, Outcome::OK);
}

#[test]
fn the_front_page_may_give_it_away() {
    for (head, flavour) in [
        ("HTTP/1.1 302 Found\r\nLocation: /remote/login?lang=en", "fortinet"),
        ("HTTP/1.1 302 Found\r\nLocation: https://vpn.example.test/global-protect/login.esp", "globalprotect"),
        ("HTTP/1.1 302 Found\r\nLocation: https://vpn.example.test/dana-na/auth/url_default/welcome.cgi", "pulse"),
        ("HTTP/1.1 302 Temporary\r\nLocation: /+CSCOE+/logon.html", "anyconnect"),
        ("HTTP/1.1 200 OK\r\nX-Transcend-Version: 1", "anyconnect"),
        ("HTTP/1.1 302 Found\r\nLocation: https://elsewhere.test/?u=/dana-na/", "web_server"),
        ("HTTP/1.1 503 x", "web_server"),
    ] {
        let talk = run(None, 0, |_| page(head, ""));
        assert_eq!((talk.report.outcome, detail(&talk.report, "flavour")), (Outcome::OK, flavour), "{head}");
        assert_eq!((talk.said.len(), talk.connections), (1, 1));
        assert!(talk.said[0].starts_with(b"GET / HTTP/1.1\r\n"));
    }
}

#[test]
fn a_fault_of_the_server_is_no_other_flavour() {
    let talk = run(Some(Flavour::Anyconnect), 0, |_| page("HTTP/1.1 503 Service Unavailable", ""));
    assert_eq!(talk.report.outcome, Outcome::Refused(Reason::HttpStatus));
}

/// The server's reset as OpenVPN 2.6 sends it over TCP, to a reset with that session.
fn reset(said: &[u8]) -> Vec<u8> {
    let ours = said[3..11].try_into().unwrap();
    let packet = Packet {
        opcode: Opcode::HardResetServerV2,
        key_id: 0,
        session: [5; 8],
        acks: Some(Acks { ids: vec![0], session: ours }),
        id: 0,
        payload: Vec::new(),
    };
    let (mut bytes, mut framed) = (Vec::new(), Vec::new());
    packet.encode(&mut bytes);
    frame(&bytes, &mut framed);
    framed
}

#[test]
fn openvpn_is_asked_without_tls() {
    let openvpn = Some(Flavour::Openvpn);
    let talk = run(openvpn, 0, |said| Some(reset(said)));
    assert_eq!((talk.report.outcome, detail(&talk.report, "flavour")), (Outcome::OK, "openvpn"));
    assert_eq!(talk.said[0][..3], [0, 14, 0x38]);
    let talk = run(openvpn, 0, |_| None);
    assert_eq!(talk.report.outcome, Outcome::Refused(Reason::KeyRequired));
    let talk = run(openvpn, 0, |_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    assert_eq!((talk.report.outcome, detail(&talk.report, "flavour")), (Outcome::Refused(Reason::WrongFlavour), "web_server"));
}

#[test]
fn silence_and_nonsense() {
    let silent = |flavour| run(flavour, 0, |_| Some(Vec::new())).report;
    for flavour in [None, Some(Flavour::Anyconnect)] {
        let report = silent(flavour);
        assert_eq!((report.outcome, detail(&report, "waited_for")), (Outcome::Lost(Reason::NoAnswer), "answer"));
    }
    let report = run(None, 0, |_| Some(b"\x7fELF".to_vec())).report;
    assert_eq!(report.outcome, Outcome::Refused(Reason::ProtocolError));
    let report = run(Some(Flavour::Sstp), 0, |_| None).report;
    assert_eq!(report.outcome, Outcome::Refused(Reason::ConnectionReset));
}
