//! Which way packets to a peer leave this host: interface, whether that is a tunnel, default gateway.
//!
//! The kernel is asked by connecting a datagram socket, so policy routing is honoured; the rest is read
//! from `/sys/class/net` and `/proc/net`. Nothing is sent, and no right is needed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;

use super::socket;
use crate::config::Egress;
use crate::sample::path::Way;

/// Which way packets to `peer` leave through `egress`. What cannot be told is left out.
#[must_use]
pub fn towards(peer: IpAddr, egress: &Egress) -> Way {
    if egress.namespace.is_some() {
        // Tables and devices there are another namespace's.
        return Way { interface: egress.interface.clone(), ..Way::default() };
    }
    let source = socket::source_towards(peer, egress).ok();
    let interface = egress.interface.clone().or_else(|| interface_of(source?));
    let tunnel = interface.as_deref().is_some_and(is_tunnel);
    let gateway =
        interface.as_deref().and_then(|name| if peer.is_ipv6() { gateway6(name) } else { gateway4(name) });
    Way { interface, tunnel, gateway }
}

/// The interface that has this address.
fn interface_of(address: IpAddr) -> Option<String> {
    getifaddrs().ok()?.find_map(|it| {
        let storage = it.address?;
        let own = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (None, Some(v6)) => IpAddr::V6(v6.ip()),
            (None, None) => return None,
        };
        (own == address).then_some(it.interface_name)
    })
}

/// By the hardware type (`linux/if_arp.h`): PPP, IP in IP both ways, SIT, GRE both ways, and none at all
/// (TUN, WireGuard).
fn is_tunnel(interface: &str) -> bool {
    let kind = fs::read_to_string(format!("/sys/class/net/{interface}/type")).unwrap_or_default();
    matches!(kind.trim(), "512" | "768" | "769" | "776" | "778" | "823" | "65534")
}

fn gateway4(interface: &str) -> Option<IpAddr> {
    let table = fs::read_to_string("/proc/net/route").ok()?;
    parse4(&table, interface)
}

/// Columns: interface, destination, gateway, flags, … in hexadecimal, addresses in the host's byte order.
fn parse4(table: &str, interface: &str) -> Option<IpAddr> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, destination, gateway) = (words.next()?, words.next()?, words.next()?);
        let mask = words.nth(4)?;
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        let ours = name == interface && destination == "00000000" && mask == "00000000" && gateway != 0;
        ours.then(|| IpAddr::V4(Ipv4Addr::from(gateway.to_ne_bytes())))
    })
}

fn gateway6(interface: &str) -> Option<IpAddr> {
    let table = fs::read_to_string("/proc/net/ipv6_route").ok()?;
    parse6(&table, interface)
}

/// Columns: destination, its length, source, its length, next hop, metric, …, interface.
fn parse6(table: &str, interface: &str) -> Option<IpAddr> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (length, next, name) = (words.get(1)?, words.get(4)?, words.last()?);
        let next = u128::from_str_radix(next, 16).ok()?;
        let ours = *name == interface && *length == "00" && next != 0;
        ours.then(|| IpAddr::V6(Ipv6Addr::from(next)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a host with one default route has them (`/proc/net/route` on a little-endian machine).
    #[test]
    fn the_default_gateway_is_found() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(parse4(table, "eth0"), Some(IpAddr::from([192, 0, 2, 1])));
        }
        assert_eq!(parse4(table, "eth1"), None);
        let table = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     20010db8000100000000000000000001 00000400 00000001 00000000 00000003     eth0\n";
        assert_eq!(parse6(table, "eth0"), "2001:db8:1::1".parse().ok());
        assert_eq!(parse6(table, "lo"), None);
    }
}
