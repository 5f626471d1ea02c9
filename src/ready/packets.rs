//! How large a packet of Teams is in a tunnel. Small packets grow much: sound by half and more.
//!
//! ```text
//!   ESP (RFC 4303), tunnel mode:  IP [UDP 8] SPI+seq 8  IV  { packet, padding, 2 }  ICV
//!     AES-CBC (RFC 3602) with HMAC-SHA2-256-128 (RFC 4868): IV 16, blocks of 16, ICV 16
//!     AES-GCM (RFC 4106): IV 8, blocks of 4, ICV 16           [UDP 8]: NAT-T (RFC 3948)
//!   L2TP in ESP, transport mode (RFC 3193): { UDP 8, L2TP 8, PPP 4, packet, padding, 2 }
//!   OpenVPN:  opcode and peer 4, then GCM: packet id 4, tag 16; or CBC: HMAC-SHA1 20, IV 16,
//!             { packet id 4, packet, PKCS 7 padding }; over TCP 2 more for the length
//!   TLS 1.2 with GCM (RFC 5288): record 5, nonce 8, tag 16, and 8 of AnyConnect's framing;
//!     DTLS 1.2: record 13, nonce 8, tag 16, and 1; SSTP: TLS, and 4, and PPP 4
//!   WireGuard: UDP, header 16, { packet, padding to 16 }, tag 16
//! ```
//!
//! Each packet is its own segment with TCP, whose header has timestamps (RFC 7323): 32; the
//! acknowledgements that go the other way are not counted.
//! Invariant: sizes are whole IP packets, the outer header (IPv4 20, IPv6 40) included.

use super::teams::{self, Call, Medium, Quality};
use crate::config::{Cipher, Protocol};

/// IP, UDP and RTP headers of a packet of sound.
const HEADERS: u32 = 40;
/// What must fit beside them: some sound.
const SOUND: u32 = 20;
/// Pictures and screens go in packets of about this size.
const LARGE: u32 = 1200;

/// One way of one medium of one person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stream {
    /// Packets per second.
    pub packets: f64,
    /// Bytes of a packet outside the tunnel.
    pub plain: u32,
    /// Bytes of the packet that carries it through the tunnel; the same without a tunnel.
    pub carried: u32,
}

impl Stream {
    /// The stream of that bandwidth, and its packets in the tunnel.
    ///
    /// Sound goes every 20 ms, unless headers leave no room for it: 10 kbit/s are 25 bytes then, and 40
    /// are headers. So it goes every 40 ms or 60 ms.
    #[must_use]
    pub fn new(medium: Medium, kbits: u32, tunnel: Option<Outer>) -> Self {
        let (packets, plain) = match medium {
            Medium::Audio => {
                let bytes = |millis: u32| kbits * millis / 8;
                let millis = [20, 40].into_iter().find(|millis| bytes(*millis) >= HEADERS + SOUND);
                let millis = millis.unwrap_or(60);
                (1000.0 / f64::from(millis), bytes(millis))
            }
            Medium::Video | Medium::Sharing => (f64::from(kbits) * 125.0 / f64::from(LARGE), LARGE),
        };
        Self { packets, plain, carried: tunnel.map_or(plain, |tunnel| tunnel.size(plain)) }
    }

    /// Both ways of a medium: up and down.
    #[must_use]
    pub fn both(medium: Medium, quality: Quality, call: Call, tunnel: Option<Outer>) -> (Self, Self) {
        let (up, down) = teams::bandwidth(medium, quality, call);
        (Self::new(medium, up, tunnel), Self::new(medium, down, tunnel))
    }

    /// Bits per second outside the tunnel.
    #[must_use]
    pub fn plain_bits(&self) -> f64 {
        self.packets * f64::from(self.plain) * 8.0
    }

    /// Bits per second in the tunnel.
    #[must_use]
    pub fn carried_bits(&self) -> f64 {
        self.packets * f64::from(self.carried) * 8.0
    }
}

/// What is put around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// The protocol.
    pub protocol: Protocol,
    /// The cipher, where it matters.
    pub cipher: Option<Cipher>,
    /// Whether the tunnel runs over IPv6.
    pub ipv6: bool,
}

impl Outer {
    /// Bytes of the packet that carries one of `packet` bytes.
    #[must_use]
    pub const fn size(self, packet: u32) -> u32 {
        const UDP: u32 = 8;
        const TCP: u32 = 32;
        let gcm = matches!(self.cipher, Some(Cipher::Gcm));
        let ip = if self.ipv6 { 40 } else { 20 };
        ip + match self.protocol {
            Protocol::Ipsec => esp(packet, gcm),
            Protocol::IpsecNatt => UDP + esp(packet, gcm),
            Protocol::L2tpIpsec => UDP + esp(UDP + 8 + 4 + packet, gcm),
            Protocol::OpenvpnUdp => UDP + openvpn(packet, gcm),
            Protocol::OpenvpnTcp => TCP + 2 + openvpn(packet, gcm),
            Protocol::Tls => TCP + 5 + 8 + 16 + 8 + packet,
            Protocol::Dtls => UDP + 13 + 8 + 16 + 1 + packet,
            Protocol::Sstp => TCP + 5 + 8 + 16 + 4 + 4 + packet,
            Protocol::Wireguard => UDP + 16 + padded(packet, 16) + 16,
        }
    }
}

const fn padded(bytes: u32, block: u32) -> u32 {
    bytes.div_ceil(block) * block
}

const fn esp(payload: u32, gcm: bool) -> u32 {
    let (iv, block) = if gcm { (8, 4) } else { (16, 16) };
    8 + iv + padded(payload + 2, block) + 16
}

const fn openvpn(packet: u32, gcm: bool) -> u32 {
    // PKCS 7 pads by one byte at least.
    if gcm { 4 + 4 + 16 + packet } else { 4 + 20 + 16 + padded(4 + packet + 1, 16) }
}
