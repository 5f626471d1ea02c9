//! Targets: see `vpnprobe_fuzz::wire`.
#![no_main]

vpnprobe_fuzz::targets! {
    "ike" => wire::ike,
    "ike_sealed" => wire::ike_sealed,
    "ikev1" => wire::ikev1,
    "l2tp" => wire::l2tp,
    "openvpn" => wire::openvpn,
    "openvpn_frames" => wire::openvpn_frames,
    "openvpn_keys" => wire::openvpn_keys,
    "stun" => wire::stun,
    "rdp" => wire::rdp,
    "sstp" => wire::sstp,
    "wireguard" => wire::wireguard,
    "http_head" => wire::http_head,
    "icmp" => wire::icmp,
}
