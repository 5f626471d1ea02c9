//! What scapy builds, as our decoders read it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vpnprobe::entropy::Entropy;
use vpnprobe::probe::{Event, Handled, Kind, Settings, Spec, Start, Step};
use vpnprobe::sample::{Detail, Outcome, Reason, Report};
use vpnprobe::time::{Timestamp, WallTime};
use vpnprobe::wire::ike::{Attribute, Body, Message};
use vpnprobe::wire::{icmp, ikev1, l2tp, wireguard};

/// How many packets, of all protocols in turn.
const COUNT: u32 = 3500;

#[test]
fn packets_of_scapy_have_the_fields_they_were_built_from() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/differential/packets.py");
    // Debian's own Python, which is the one that Debian's scapy is for.
    let made = Command::new("/usr/bin/python3").args([script, "20261122", &COUNT.to_string()]).output();
    let made = made.expect("python3 is missing; Debian has it in the package python3-scapy");
    assert!(
        made.status.success(),
        "Debian has scapy in the package python3-scapy\n{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let text = String::from_utf8(made.stdout).unwrap();
    let mut count = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (packet, fields) = (octets(&case["packet"]), &case["fields"]);
        let read = match case["protocol"].as_str().unwrap() {
            "ikev2" => ikev2(&packet),
            "ikev1" => ikev1(&packet),
            "l2tp" => l2tp(&packet),
            "dns" => dns(&packet, fields),
            "wireguard" => wireguard(&packet),
            "icmp" => echo(&packet, fields),
            "icmp_error" => problem(&packet),
            other => panic!("{other}"),
        };
        assert_eq!(&read, fields, "{line}");
        count += 1;
    }
    assert_eq!(count, COUNT);
}

fn octets(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn ikev2(packet: &[u8]) -> Value {
    let message = Message::decode(packet).unwrap();
    assert_eq!(message.exchange, vpnprobe::wire::ike::ExchangeType::IKE_SA_INIT);
    let (mut group, mut public, mut nonce) = (0, String::new(), String::new());
    for payload in &message.payloads {
        match &payload.body {
            Body::KeyExchange { group: its, data } => (group, public) = (its.0, hex(data)),
            Body::Nonce(data) => nonce = hex(data),
            _ => {}
        }
    }
    let [proposal] = message.proposals().unwrap() else { panic!("one proposal") };
    let transforms = proposal.transforms.iter().map(|one| json!([one.kind.0, one.id, one.key_length()]));
    json!({
        "initiator": hex(&message.initiator.0),
        "responder": hex(&message.responder.0),
        "id": message.message_id,
        "group": group,
        "public": public,
        "nonce": nonce,
        "transforms": transforms.collect::<Vec<_>>(),
        "notifies": message.notifies().map(|notify| json!([notify.kind.0, hex(&notify.data)])).collect::<Vec<_>>(),
        "vendors": message.vendor_ids().map(hex).collect::<Vec<_>>(),
    })
}

fn ikev1(packet: &[u8]) -> Value {
    use ikev1::AttributeType;
    let message = ikev1::Message::decode(packet).unwrap();
    let Some(ikev1::Payload::Sa(proposals)) = message.payloads.first() else { panic!("an SA first") };
    let [proposal] = proposals.as_slice() else { panic!("one proposal") };
    let suite = |transform: &ikev1::Transform| {
        assert_eq!(transform.attribute(AttributeType::ENCRYPTION), Some(7));
        let kinds = [
            AttributeType(Attribute::KEY_LENGTH),
            AttributeType::HASH,
            AttributeType::AUTHENTICATION,
            AttributeType::GROUP,
            AttributeType::LIFE_DURATION,
        ];
        kinds.map(|kind| transform.attribute(kind))
    };
    json!({
        "initiator": hex(&message.initiator.0),
        "responder": hex(&message.responder.0),
        "vendors": message.vendor_ids().map(hex).collect::<Vec<_>>(),
        "suites": proposal.transforms.iter().map(suite).collect::<Vec<_>>(),
    })
}

fn l2tp(packet: &[u8]) -> Value {
    let message = l2tp::Message::decode(packet).unwrap();
    let avps = message.avps.iter().map(|avp| json!([avp.attribute, avp.mandatory, hex(&avp.value)]));
    json!({
        "tunnel_id": message.tunnel_id,
        "session_id": message.session_id,
        "ns": message.ns,
        "nr": message.nr,
        "avps": avps.collect::<Vec<_>>(),
    })
}

fn wireguard(packet: &[u8]) -> Value {
    if let Ok(wireguard::Initiation { sender, ephemeral, sealed_static, sealed_timestamp, mac1, mac2 }) =
        wireguard::Initiation::decode(packet)
    {
        return json!({
            "kind": 1, "sender_index": sender, "unencrypted_ephemeral": hex(&ephemeral),
            "encrypted_static": hex(&sealed_static), "encrypted_timestamp": hex(&sealed_timestamp),
            "mac1": hex(&mac1), "mac2": hex(&mac2),
        });
    }
    match wireguard::Reply::decode(packet).unwrap() {
        wireguard::Reply::Response { sender, receiver, ephemeral, sealed_nothing, mac1, mac2 } => json!({
            "kind": 2, "sender_index": sender, "receiver_index": receiver,
            "unencrypted_ephemeral": hex(&ephemeral), "encrypted_nothing": hex(&sealed_nothing),
            "mac1": hex(&mac1), "mac2": hex(&mac2),
        }),
        wireguard::Reply::Cookie { receiver, nonce, sealed_cookie } => json!({
            "kind": 3, "receiver_index": receiver, "nonce": hex(&nonce), "encrypted_cookie": hex(&sealed_cookie),
        }),
    }
}

fn echo(packet: &[u8], fields: &Value) -> Value {
    let v6 = fields["v6"].as_bool().unwrap();
    let icmp::Message::Echo(echo) = icmp::Message::decode(v6, packet).unwrap() else { panic!("an echo") };
    assert!(echo.reply);
    json!({"v6": v6, "id": echo.identifier, "sequence": echo.sequence, "data": hex(echo.payload)})
}

fn problem(packet: &[u8]) -> Value {
    let icmp::Message::Problem(problem) = icmp::Message::decode(false, packet).unwrap() else {
        panic!("an error")
    };
    let quoted = problem.quoted.unwrap();
    assert_eq!((quoted.protocol, quoted.destination), (17, IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10))));
    json!({"kind": problem.kind, "code": problem.code, "mtu": problem.mtu, "payload": hex(quoted.payload)})
}

/// The id that the answer has.
struct Id(u16);

impl Entropy for Id {
    fn fill(&mut self, bytes: &mut [u8]) {
        for (byte, id) in bytes.iter_mut().zip(self.0.to_ne_bytes()) {
            *byte = id;
        }
    }
}

/// An answer, given to the exchange that asked for it.
fn dns(packet: &[u8], fields: &Value) -> Value {
    let name = fields["name"].as_str().unwrap();
    let id = u16::from_be_bytes([packet[0], packet[1]]);
    let kind = Kind::named("dns").unwrap();
    let mut settings = Settings::default();
    settings.dns.name = Some(name.to_owned());
    let spec = Spec {
        name: "dns".to_owned(),
        kind,
        port: 53,
        interval: kind.interval,
        timeout: Duration::from_secs(2),
        full_interval: kind.interval,
        host: None,
        settings: settings.into(),
    };
    let now = Timestamp::from_secs(10);
    let start = Start {
        now,
        wall: WallTime::default(),
        peer: Ipv4Addr::new(203, 0, 113, 10).into(),
        local: None,
        timeout: spec.timeout,
        form: &(kind.forms)(&spec)[0],
        token: 0,
        entropy: &mut Id(id),
    };
    let mut ask = (kind.begin)(&spec, start);
    assert_eq!(ask.poll(now, &mut Vec::new()), Step::Send);
    ask.handle(Event::Sent, now);
    let from = SocketAddr::from(([203, 0, 113, 10], 53));
    assert_eq!(ask.handle(Event::Received { from, bytes: packet }, now), Handled::Taken);
    let Step::Report(report) = ask.poll(now, &mut Vec::new()) else { panic!("no report") };
    let addresses = addresses(&report);
    let code = match report.outcome.reason() {
        None => 0,
        Some(Reason::Nodata) if addresses.is_empty() => 0,
        Some(Reason::Servfail) => 2,
        Some(Reason::Nxdomain) => 3,
        Some(Reason::DnsRefused) => 5,
        Some(other) => panic!("{other}"),
    };
    assert_eq!(report.outcome == Outcome::OK, code == 0 && !addresses.is_empty());
    // What came with a refusal is not shown.
    let addresses = if code == 0 { json!(addresses) } else { fields["addresses"].clone() };
    json!({"id": id, "code": code, "name": name, "addresses": addresses})
}

fn addresses(report: &Report) -> Vec<String> {
    let findings = report.findings.as_ref().expect("findings");
    // Each is shown as name, type and data.
    match findings.details.get("answers") {
        Some(Detail::List(items)) => items
            .iter()
            .filter_map(|item| item.as_str().split_once(" A "))
            .map(|(_, data)| data.to_owned())
            .collect(),
        _ => Vec::new(),
    }
}
