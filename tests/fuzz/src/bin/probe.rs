//! Targets: see `vpnprobe_fuzz::exchange`.
#![no_main]

vpnprobe_fuzz::targets! {
    "probe_icmp" => exchange::icmp,
    "probe_ike" => exchange::ike,
    "probe_ike_natt" => exchange::ike_natt,
    "probe_ikev1" => exchange::ikev1,
    "probe_ikev1_natt" => exchange::ikev1_natt,
    "probe_l2tp" => exchange::l2tp,
    "probe_openvpn_udp" => exchange::openvpn_udp,
    "probe_openvpn_tcp" => exchange::openvpn_tcp,
    "probe_tcp" => exchange::tcp,
    "probe_tls" => exchange::tls,
    "probe_dns" => exchange::dns,
    "probe_http" => exchange::http,
    "probe_rdp" => exchange::rdp,
    "probe_stun" => exchange::stun,
    "probe_sslvpn" => exchange::sslvpn,
    "probe_wireguard" => exchange::wireguard,
    "probe_trace" => exchange::trace,
}
