//! What our encoders write, as tshark reads it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use vpnprobe::entropy::{Draw as _, Generator};
use vpnprobe::probe::{Event, Kind, Settings, Spec, Start, Step, Transport};
use vpnprobe::time::{Timestamp, WallTime};
use vpnprobe::wire::ike::{
    Attribute, Body, Encr, ExchangeType, Group, Integ, Message, Notify, NotifyType, Payload, Prf, Proposal,
    Spi, Transform, TransformType, Version, flags,
};
use vpnprobe::wire::openvpn::{Acks, Opcode, Packet};
use vpnprobe::wire::{icmp, ikev1, l2tp, rdp, stun, wireguard};

use super::tshark::{Case, Over, Shown, check, packet};

/// How many of each message.
const EACH: usize = 300;

fn numbers<N: Into<u64>>(all: impl IntoIterator<Item = N>) -> Shown {
    Shown::Numbers(all.into_iter().map(Into::into).collect())
}

fn octets(all: &[&[u8]]) -> Shown {
    Shown::Octets(all.iter().map(|octets| octets.to_vec()).collect())
}

fn pick<T: Copy>(random: &mut Generator, of: &[T]) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap()]
}

fn some(random: &mut Generator, least: usize, most: usize) -> Vec<u8> {
    let length = least + usize::try_from(random.below((most - least + 1) as u64)).unwrap();
    random.bytes(length)
}

fn cases(
    seed: u64,
    over: Over,
    about: &str,
    make: impl Fn(&mut Generator) -> (Vec<u8>, Vec<(&'static str, Shown)>),
) -> Vec<Case> {
    let mut random = Generator::seeded(seed);
    (0..EACH)
        .map(|number| {
            let (message, fields) = make(&mut random);
            Case { about: format!("{about} {number}"), packet: packet(over, number, &message), fields }
        })
        .collect()
}

/// A message of IKEv2 as it may stand in an `IKE_SA_INIT`.
fn ike_message(random: &mut Generator) -> Message {
    let mut transforms = vec![
        Transform::encr(Encr::AES_GCM_16, Some(pick(random, &[128, 192, 256]))),
        Transform::prf(pick(random, &[Prf::HMAC_SHA2_256, Prf::HMAC_SHA2_384, Prf::HMAC_SHA2_512])),
        Transform::integ(pick(random, &[Integ::HMAC_SHA2_256_128, Integ::HMAC_SHA2_384_192])),
        Transform::dh(pick(random, &[Group::X25519, Group::ECP_256, Group::MODP_2048])),
    ];
    transforms.truncate(1 + usize::try_from(random.below(4)).unwrap());
    let proposals = (1..=u8::try_from(1 + random.below(3)).unwrap())
        .map(|number| Proposal::ike(number, transforms.clone()));
    let mut payloads: Vec<Payload> = vec![
        Body::Sa(proposals.collect()).into(),
        Body::KeyExchange {
            group: pick(random, &[Group::X25519, Group::ECP_384]),
            data: some(random, 32, 96),
        }
        .into(),
        Body::Nonce(some(random, 16, 256)).into(),
    ];
    for _ in 0..random.below(3) {
        let kind =
            pick(random, &[NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP]);
        payloads.push(Notify::new(kind, random.bytes(20)).into());
    }
    if random.below(2) == 0 {
        payloads.push(Notify::new(NotifyType::COOKIE, some(random, 1, 64)).into());
    }
    for _ in 0..random.below(3) {
        payloads.push(Body::VendorId(some(random, 1, 40)).into());
    }
    Message {
        initiator: Spi(random.array()),
        responder: Spi(random.array()),
        version: Version::V2,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: pick(random, &[flags::INITIATOR, flags::RESPONSE]),
        message_id: random.u32(),
        payloads,
    }
}

/// What tshark is to show of it.
fn ike_fields(message: &Message) -> Vec<(&'static str, Shown)> {
    let proposals: Vec<&Proposal> = message.proposals().unwrap_or_default().iter().collect();
    let transforms: Vec<&Transform> = proposals.iter().flat_map(|proposal| &proposal.transforms).collect();
    let of =
        |kind: TransformType| numbers(transforms.iter().filter(|one| one.kind == kind).map(|one| one.id));
    let bodies = |pick: &dyn Fn(&Body) -> Option<Vec<u8>>| {
        Shown::Octets(message.payloads.iter().filter_map(|payload| pick(&payload.body)).collect())
    };
    let groups = message.payloads.iter().filter_map(|payload| match &payload.body {
        Body::KeyExchange { group, .. } => Some(group.0),
        _ => None,
    });
    vec![
        ("isakmp.ispi", octets(&[&message.initiator.0])),
        ("isakmp.rspi", octets(&[&message.responder.0])),
        ("isakmp.version", numbers([message.version.0])),
        ("isakmp.flags", numbers([message.flags])),
        ("isakmp.messageid", numbers([message.message_id])),
        ("isakmp.length", numbers([message.to_bytes().len() as u64])),
        ("isakmp.typepayload", numbers(payload_types(message))),
        ("isakmp.prop.number", numbers(proposals.iter().map(|one| one.number))),
        ("isakmp.prop.transforms", numbers(proposals.iter().map(|one| one.transforms.len() as u64))),
        ("isakmp.tf.type", numbers(transforms.iter().map(|one| one.kind.0))),
        ("isakmp.tf.id.encr", of(TransformType::ENCR)),
        ("isakmp.tf.id.prf", of(TransformType::PRF)),
        ("isakmp.tf.id.integ", of(TransformType::INTEG)),
        ("isakmp.tf.id.dh", of(TransformType::DH)),
        ("isakmp.ike2.attr.key_length", numbers(transforms.iter().filter_map(|one| one.key_length()))),
        ("isakmp.key_exchange.dh_group", numbers(groups)),
        (
            "isakmp.key_exchange.data",
            bodies(&|body| if let Body::KeyExchange { data, .. } = body { Some(data.clone()) } else { None }),
        ),
        (
            "isakmp.nonce",
            bodies(&|body| if let Body::Nonce(nonce) = body { Some(nonce.clone()) } else { None }),
        ),
        (
            "isakmp.vid_bytes",
            bodies(&|body| if let Body::VendorId(id) = body { Some(id.clone()) } else { None }),
        ),
        ("isakmp.notify.msgtype", numbers(message.notifies().map(|notify| notify.kind.0))),
    ]
}

/// The types of the payloads, and below an SA those of its proposals (2) and transforms (3), as tshark
/// counts them.
fn payload_types(message: &Message) -> Vec<u8> {
    let mut all = Vec::new();
    for payload in &message.payloads {
        all.push(payload.body.kind().0);
        if let Body::Sa(proposals) = &payload.body {
            for proposal in proposals {
                all.push(2);
                all.extend(proposal.transforms.iter().map(|_| 3));
            }
        }
    }
    all
}

#[test]
fn ike() {
    let all = cases(1, Over::Udp(500), "IKEv2", |random| {
        let message = ike_message(random);
        let mut fields = ike_fields(&message);
        // Of a version that it does not know, tshark does not show it.
        fields.push(("isakmp.exchangetype", numbers([message.exchange.0])));
        (message.to_bytes(), fields)
    });
    check(&all);
}

#[test]
fn ikev1() {
    use ikev1::{AttributeType, Payload};
    let all = cases(2, Over::Udp(500), "IKEv1", |random| {
        let transforms: Vec<_> = (1..=u8::try_from(1 + random.below(4)).unwrap())
            .map(|number| {
                let mut attributes = vec![
                    Attribute::short(AttributeType::ENCRYPTION.0, 7),
                    Attribute::short(Attribute::KEY_LENGTH, pick(random, &[128, 192, 256])),
                    Attribute::short(AttributeType::HASH.0, pick(random, &[1, 2, 4, 5, 6])),
                    Attribute::short(AttributeType::AUTHENTICATION.0, pick(random, &[1, 3])),
                    Attribute::short(AttributeType::GROUP.0, pick(random, &[2, 5, 14, 19])),
                ];
                attributes.extend(ikev1::lifetime(random.u32()));
                ikev1::Transform { number, id: ikev1::KEY_IKE, attributes }
            })
            .collect();
        let vendors: Vec<Vec<u8>> = (0..random.below(4)).map(|_| some(random, 1, 32)).collect();
        let initiator = Spi(random.array());
        let mut payloads = vec![Payload::Sa(vec![ikev1::Proposal::phase_1(transforms.clone())])];
        payloads.extend(vendors.iter().cloned().map(Payload::VendorId));
        let message =
            ikev1::Message::phase_1(initiator, Spi(random.array()), ExchangeType::ID_PROT, payloads);
        let value = |kind: u16| {
            numbers(
                transforms
                    .iter()
                    .flat_map(|one| &one.attributes)
                    .filter(|one| one.kind == kind)
                    .map(|one| one.number().unwrap()),
            )
        };
        let fields = vec![
            ("isakmp.ispi", octets(&[&initiator.0])),
            ("isakmp.rspi", octets(&[&message.responder.0])),
            ("isakmp.version", numbers([0x10_u8])),
            ("isakmp.exchangetype", numbers([2_u8])),
            ("isakmp.messageid", numbers([0_u8])),
            ("isakmp.length", numbers([message.to_bytes().len() as u64])),
            ("isakmp.prop.transforms", numbers([transforms.len() as u64])),
            ("isakmp.trans.number", numbers(transforms.iter().map(|one| one.number))),
            ("isakmp.ike.attr.encryption_algorithm", value(AttributeType::ENCRYPTION.0)),
            ("isakmp.ike.attr.hash_algorithm", value(AttributeType::HASH.0)),
            ("isakmp.ike.attr.authentication_method", value(AttributeType::AUTHENTICATION.0)),
            ("isakmp.ike.attr.group_description", value(AttributeType::GROUP.0)),
            ("isakmp.ike.attr.key_length", value(Attribute::KEY_LENGTH)),
            ("isakmp.ike.attr.life_duration", value(AttributeType::LIFE_DURATION.0)),
            ("isakmp.vid_bytes", Shown::Octets(vendors)),
        ];
        (message.to_bytes(), fields)
    });
    check(&all);
}

#[test]
fn l2tp() {
    use l2tp::{Avp, Message, attribute, message};
    let all = cases(3, Over::Udp(1701), "L2TP", |random| {
        let name: String = some(random, 1, 30).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let (tunnel, window) = (random.u16(), random.u16());
        let control = Message {
            tunnel_id: random.u16(),
            session_id: random.u16(),
            ns: random.u16(),
            nr: random.u16(),
            avps: vec![
                Avp::number(attribute::MESSAGE_TYPE, message::SCCRQ),
                Avp::number(attribute::PROTOCOL_VERSION, 0x0100),
                Avp::mandatory(attribute::FRAMING_CAPABILITIES, 3_u32.to_be_bytes()),
                Avp::mandatory(attribute::HOST_NAME, name.as_bytes()),
                Avp::number(attribute::ASSIGNED_TUNNEL_ID, tunnel),
                Avp::number(attribute::RECEIVE_WINDOW_SIZE, window),
            ],
        };
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        let fields = vec![
            ("l2tp.version", numbers([2_u8])),
            ("l2tp.type", numbers([1_u8])),
            ("l2tp.length", numbers([bytes.len() as u64])),
            ("l2tp.tunnel", numbers([control.tunnel_id])),
            ("l2tp.session", numbers([control.session_id])),
            ("l2tp.Ns", numbers([control.ns])),
            ("l2tp.Nr", numbers([control.nr])),
            ("l2tp.avp.type", numbers(control.avps.iter().map(|avp| avp.attribute))),
            ("l2tp.avp.message_type", numbers([message::SCCRQ])),
            ("l2tp.avp.protocol_version", numbers([1_u8])),
            ("l2tp.avp.host_name", Shown::Text(name)),
            ("l2tp.avp.assigned_tunnel_id", numbers([tunnel])),
            ("l2tp.avp.receive_window_size", numbers([window])),
        ];
        (bytes, fields)
    });
    check(&all);
}

#[test]
fn openvpn() {
    let all = cases(4, Over::Udp(1194), "OpenVPN", |random| {
        let acks = (random.below(2) == 0).then(|| Acks {
            ids: (0..=random.below(4)).map(|_| random.u32()).collect(),
            session: random.array(),
        });
        let opcode = pick(
            random,
            &[Opcode::HardResetClientV2, Opcode::HardResetServerV2, Opcode::ControlV1, Opcode::AckV1],
        );
        let bare = opcode == Opcode::AckV1;
        let acks = acks.or_else(|| bare.then(|| Acks { ids: vec![random.u32()], session: random.array() }));
        let packet = Packet {
            opcode,
            key_id: u8::try_from(random.below(8)).unwrap(),
            session: random.array(),
            id: if bare { 0 } else { random.u32() },
            // tshark looks for TLS in what is there: nothing is in it.
            payload: Vec::new(),
            acks,
        };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        let ids = packet.acks.as_ref().map(|acks| acks.ids.clone()).unwrap_or_default();
        let mut fields = vec![
            ("openvpn.opcode", numbers([packet.opcode.number()])),
            ("openvpn.keyid", numbers([packet.key_id])),
            ("openvpn.sessionid", numbers([u64::from_be_bytes(packet.session)])),
            ("openvpn.mpidarraylength", numbers([ids.len() as u64])),
            ("openvpn.mpidarrayelement", numbers(ids)),
        ];
        if let Some(acks) = &packet.acks {
            fields.push(("openvpn.rsessionid", numbers([u64::from_be_bytes(acks.session)])));
        }
        if !bare {
            fields.push(("openvpn.mpid", numbers([packet.id])));
        }
        (bytes, fields)
    });
    check(&all);
}

#[test]
fn stun() {
    let all = cases(5, Over::Udp(3478), "STUN", |random| {
        let message = stun::Message::request(random.array());
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let mut fields = vec![
            ("stun.type", numbers([message.kind])),
            ("stun.cookie", octets(&[&stun::COOKIE.to_be_bytes()])),
            ("stun.id", octets(&[&message.transaction])),
            ("stun.length", numbers([bytes.len() as u64 - 20])),
        ];
        if message.fingerprint {
            fields.push(("stun.att.crc32.status", numbers([1_u8]))); // good
        }
        (bytes, fields)
    });
    check(&all);
}

#[test]
fn rdp() {
    let all = cases(6, Over::Tcp(3389), "RDP", |random| {
        let protocols = pick(random, &[rdp::protocol::SSL, 3, 11]);
        let packet =
            rdp::Packet { confirm: false, source: 0, negotiation: rdp::Negotiation::Request(protocols) };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        let fields = vec![
            ("tpkt.version", numbers([3_u8])),
            ("tpkt.length", numbers([bytes.len() as u64])),
            ("cotp.type", numbers([0x0e_u8])),
            ("cotp.srcref", numbers([0_u8])),
            ("rdp.neg_type", numbers([1_u8])),
            ("rdp.neg_length", numbers([8_u8])),
            ("rdp.negReq.requestedProtocols", numbers([protocols])),
        ];
        (bytes, fields)
    });
    check(&all);
}

#[test]
fn wireguard() {
    let all = cases(7, Over::Udp(51_820), "WireGuard", |random| {
        let (mut sealed_static, mut sealed_timestamp) = ([0; 48], [0; 28]);
        sealed_static.copy_from_slice(&random.bytes(48));
        sealed_timestamp.copy_from_slice(&random.bytes(28));
        let message = wireguard::Initiation {
            sender: random.u32(),
            ephemeral: random.array(),
            sealed_static,
            sealed_timestamp,
            mac1: random.array(),
            mac2: random.array(),
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let fields = vec![
            ("wg.type", numbers([1_u8])),
            ("wg.sender", numbers([message.sender])),
            ("wg.mac1", octets(&[&message.mac1])),
            ("wg.mac2", octets(&[&message.mac2])),
        ];
        (bytes, fields)
    });
    check(&all);
}

#[test]
fn icmp() {
    let all = cases(8, Over::Icmp, "ICMP", |random| {
        let payload = some(random, 16, 64);
        let echo = icmp::Echo {
            reply: random.below(2) == 0,
            identifier: random.u16(),
            sequence: random.u16(),
            payload: &payload,
        };
        let mut bytes = Vec::new();
        echo.encode(false, &mut bytes);
        let fields = vec![
            ("icmp.type", numbers([if echo.reply { 0_u8 } else { 8 }])),
            ("icmp.checksum.status", numbers([1_u8])), // good
            ("icmp.ident", numbers([echo.identifier])),
            ("icmp.seq", numbers([echo.sequence])),
            ("data.data", octets(&[&payload])),
        ];
        (bytes, fields)
    });
    check(&all);
}

/// What each kind of probe says first, in each of its forms.
#[test]
fn the_first_words_of_every_probe() {
    let mut all = Vec::new();
    for kind in Kind::all().filter(|kind| !["tcp", "trace", "icmp"].contains(&kind.name)) {
        let mut settings = Settings::default();
        settings.http.tls = false;
        settings.dns.name = Some("intranet.example.test".to_owned());
        settings.wireguard = vpnprobe::probe::wireguard::Settings::new([0x40; 32], nine(), None);
        let spec = Spec {
            name: kind.name.to_owned(),
            kind,
            port: kind.port,
            interval: kind.interval,
            timeout: Duration::from_secs(2),
            full_interval: kind.interval,
            host: Some("vpn.example.test".to_owned()),
            settings: settings.into(),
        };
        for form in (kind.forms)(&spec) {
            for seed in 0..20 {
                let start = Start {
                    now: Timestamp::from_secs(1000),
                    wall: WallTime::from_unix_secs(1_800_000_000),
                    peer: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
                    local: Some(SocketAddr::from(([192, 0, 2, 10], 40_000))),
                    timeout: spec.timeout,
                    form,
                    token: 0,
                    entropy: &mut Generator::seeded(seed),
                };
                let mut exchange = (kind.begin)(&spec, start);
                let over = match exchange.transport() {
                    Transport::Udp { port, .. } => Over::Udp(port),
                    Transport::Tcp { port } => {
                        exchange.handle(Event::Connected, Timestamp::from_secs(1000));
                        Over::Tcp(port)
                    }
                    other => panic!("{}: {other:?}", kind.name),
                };
                let mut said = Vec::new();
                assert_eq!(
                    exchange.poll(Timestamp::from_secs(1000), &mut said),
                    Step::Send,
                    "{} {}",
                    kind.name,
                    form.name
                );
                let about = format!("{} {} {seed}", kind.name, form.name);
                all.push(Case {
                    about,
                    packet: packet(over, all.len(), &said),
                    fields: first_words(kind.name, &said),
                });
            }
        }
    }
    check(&all);
}

/// The base point of curve 25519 as a public key.
fn nine() -> [u8; 32] {
    let mut public = [0; 32];
    public[0] = 9;
    public
}

fn first_words(kind: &str, said: &[u8]) -> Vec<(&'static str, Shown)> {
    match kind {
        "ike" => ike_fields(&Message::decode(said).unwrap()),
        "ike_natt" => ike_fields(&Message::decode(&said[4..]).unwrap()),
        "ikev1" => {
            vec![("isakmp.version", numbers([0x10_u8])), ("isakmp.length", numbers([said.len() as u64]))]
        }
        "ikev1_natt" => {
            vec![("isakmp.version", numbers([0x10_u8])), ("isakmp.length", numbers([said.len() as u64 - 4]))]
        }
        "l2tp" => {
            vec![("l2tp.avp.message_type", numbers([1_u8])), ("l2tp.length", numbers([said.len() as u64]))]
        }
        "openvpn_udp" => vec![("openvpn.opcode", numbers([7_u8]))],
        "openvpn_tcp" => {
            vec![("openvpn.opcode", numbers([7_u8])), ("openvpn.plen", numbers([said.len() as u64 - 2]))]
        }
        "tls" | "sslvpn" => vec![
            ("tls.handshake.type", numbers([1_u8])),
            ("tls.handshake.version", numbers([0x0303_u16])),
            ("tls.handshake.extensions_server_name", Shown::Text("vpn.example.test".to_owned())),
        ],
        "dns" => vec![
            ("dns.flags.response", numbers([0_u8])),
            ("dns.id", numbers([u16::from_be_bytes([said[0], said[1]])])),
            ("dns.qry.name", Shown::Text("intranet.example.test".to_owned())),
            ("dns.qry.type", numbers([1_u8])),
            ("dns.resp.type", numbers([41_u8])),
        ],
        "http" => vec![
            ("http.request.method", Shown::Text("GET".to_owned())),
            ("http.request.uri", Shown::Text("/".to_owned())),
            ("http.host", Shown::Text("vpn.example.test:443".to_owned())),
        ],
        "rdp" => vec![("rdp.neg_type", numbers([1_u8])), ("tpkt.length", numbers([said.len() as u64]))],
        "stun" => vec![("stun.type", numbers([1_u8])), ("stun.id", octets(&[&said[8..20]]))],
        "wireguard" => vec![("wg.type", numbers([1_u8]))],
        other => panic!("{other}: what is it to say first?"),
    }
}
