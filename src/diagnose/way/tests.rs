//! Labelled route tables. A small model of the kernel answers the lookups (longest prefix, then metric,
//! as `ip route get` does), so that each row is a table as an administrator would write it; the judgement
//! sees the answers only. Each fault stands beside its healthy twin.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::tests::observed;
use super::*;
use crate::diagnose::{Observed, StepReason};
use crate::route::{INTERNET, LinkKind, Ways, samples};
use crate::sample::Reason;
use crate::time::WallTime;

/// Where to, its metric, and the way.
type Route = (Prefix, u32, Result<Way, NoWay>);

const TUNNEL: &str = "tun0";

/// `eth0 192.168.1.7/24` a link with its address; `10.0.0.0/8 tun0` or `default eth0 192.168.1.1 metric 50`
/// a route; `unreachable 10.9.0.0/16` a route that refuses. Connected routes come with the links.
fn table(text: &str) -> (Vec<Link>, Vec<Route>) {
    let mut links: Vec<Link> = Vec::new();
    let mut routes = Vec::new();
    for line in text.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = |name: &str| if name.starts_with("tun") { LinkKind::Tun } else { LinkKind::Ethernet };
        let way = |link: &str, gateway: Option<&str>| Way {
            link: link.to_owned(),
            kind: kind(link),
            gateway: gateway.map(|it| it.parse().unwrap()),
            source: None,
            table: 254,
            route: None,
            local: false,
        };
        let everything =
            |v6: bool| Prefix::new(if v6 { IpAddr::from([0; 16]) } else { IpAddr::from([0; 4]) }, 0);
        match words.as_slice() {
            ["unreachable", prefix] => routes.push((prefix.parse().unwrap(), 0, Err(NoWay::Unreachable))),
            ["untold", prefix] => routes.push((prefix.parse().unwrap(), 0, Err(NoWay::Untold))),
            [link, "down"] => links.iter_mut().find(|it| it.name == *link).unwrap().up = false,
            [link] => links.push(Link {
                name: (*link).to_owned(),
                kind: kind(link),
                up: true,
                addresses: Vec::new(),
            }),
            [link, address]
                if !address.contains(char::is_alphabetic)
                    && link.contains(char::is_alphabetic)
                    && *link != "default"
                    && *link != "default6" =>
            {
                let (own, length) = address.split_once('/').unwrap();
                let own: IpAddr = own.parse().unwrap();
                let network = Prefix::new(own, length.parse().unwrap());
                if !links.iter().any(|it| it.name == *link) {
                    links.push(Link {
                        name: (*link).to_owned(),
                        kind: kind(link),
                        up: true,
                        addresses: Vec::new(),
                    });
                }
                links.iter_mut().find(|it| it.name == *link).unwrap().addresses.push((own, network));
                routes.push((network, 0, Ok(way(link, None))));
            }
            [to, link, rest @ ..] => {
                let to = match *to {
                    "default" => everything(false),
                    "default6" => everything(true),
                    prefix => prefix.parse().unwrap(),
                };
                let gateway = rest.first().copied().filter(|it| *it != "metric");
                let metric =
                    rest.iter().position(|it| *it == "metric").map_or(0, |at| rest[at + 1].parse().unwrap());
                routes.push((to, metric, Ok(way(link, gateway))));
            }
            _ => panic!("{line}"),
        }
    }
    (links, routes)
}

/// What the kernel would answer for `inside` (prefixes, and hosts) with this table.
pub(in crate::diagnose) fn ways(text: &str, inside: &str, members: &[&str]) -> Ways {
    let (links, routes) = table(text);
    let look = |to: IpAddr| {
        let mut fitting: Vec<_> = routes.iter().filter(|(prefix, ..)| prefix.contains(to)).collect();
        fitting.sort_by_key(|(prefix, metric, _)| (std::cmp::Reverse(prefix.length()), *metric));
        let own = links.iter().any(|link| link.addresses.iter().any(|(own, _)| *own == to));
        let way = fitting.first().map_or(Err(NoWay::NoRoute), |(_, _, way)| way.clone());
        Looked { to, way: way.map(|way| Way { local: own, ..way }) }
    };
    let (prefixes, hosts): (Vec<&str>, Vec<&str>) =
        inside.split_whitespace().partition(|it| it.contains('/'));
    let hosts: Vec<IpAddr> = hosts.iter().map(|it| it.parse().unwrap()).collect();
    let network = |prefix: Prefix, tunnel| route::Inside {
        prefix,
        ways: samples(prefix, &hosts, &links, tunnel).into_iter().map(look).collect(),
    };
    let mut around = Around {
        tunnel: Some(TUNNEL.to_owned()),
        links: links.clone().into(),
        namespace: None,
        inside: prefixes.iter().map(|it| network(it.parse().unwrap(), Some(TUNNEL))).collect(),
        class: None,
        internet: INTERNET.into_iter().map(look).collect(),
    };
    around.class = around.tunnel_class().map(|class| network(class, None));
    let members = members.iter().map(|it| look(it.parse().unwrap())).collect();
    Ways { around: around.into(), members }
}

pub(in crate::diagnose) fn declared(intent: &str, inside: &str) -> Inside {
    Inside {
        egress: Some("tunnel".to_owned()),
        interface: Some(TUNNEL.to_owned()),
        tunnel: intent.parse().ok(),
        prefixes: inside.split_whitespace().filter_map(|it| it.parse().ok()).collect(),
        ..Inside::default()
    }
}

fn say(judged: &Judged) -> String {
    let reason = judged.reason.map_or("", StepReason::as_str);
    format!("{} {reason}", judged.status).trim_end().to_owned()
}

pub(in crate::diagnose) const HOME: &str = "eth0 192.168.1.7/24; default eth0 192.168.1.1 metric 100";

/// What, intent, inside, the table beside a home network, the step, and the first sentence.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, Note);

const TABLE: &[Row] = &[
    // the healthy states
    (
        "a split tunnel as it should be",
        "split",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 10.20.0.0/16 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "a full tunnel by a default route of a better metric",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; default eth0 192.168.1.1 metric 600; default tun0 10.8.0.1",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "a full tunnel by two halves (redirect-gateway def1)",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 0.0.0.0/1 tun0; 128.0.0.0/1 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "no intent is declared: the default route is told and not judged",
        "",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 10.20.0.0/16 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    // the teleworker's story: the default route in the tunnel
    (
        "the default route in the tunnel, and split declared",
        "split",
        "192.168.10.0/24",
        "tun0 192.168.10.77/24; default tun0 192.168.10.1 metric 0; default eth0 192.168.1.1 metric 600",
        "failed default_route_via_tunnel",
        Note::DefaultViaTunnel,
    ),
    (
        "half of the Internet in the tunnel is enough",
        "split",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 10.20.0.0/16 tun0; 128.0.0.0/1 tun0",
        "failed default_route_via_tunnel",
        Note::DefaultViaTunnel,
    ),
    (
        "the same table is as declared where full is",
        "full",
        "192.168.10.0/24",
        "tun0 192.168.10.77/24; 0.0.0.0/1 tun0; 128.0.0.0/1 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "and not told as a fault where nothing is",
        "",
        "192.168.10.0/24",
        "tun0 192.168.10.77/24; 0.0.0.0/1 tun0; 128.0.0.0/1 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    // full tunnel, and the default route outside
    (
        "the default route outside, and full declared",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 10.20.0.0/16 tun0",
        "failed default_route_not_via_tunnel",
        Note::DefaultNotViaTunnel,
    ),
    (
        "one half of def1 is missing",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 0.0.0.0/1 tun0",
        "failed default_route_not_via_tunnel",
        Note::DefaultNotViaTunnel,
    ),
    (
        "the tunnel's default has the worse metric",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; default tun0 10.8.0.1 metric 700",
        "failed default_route_not_via_tunnel",
        Note::DefaultNotViaTunnel,
    ),
    (
        "IPv6 goes around a full tunnel",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 0.0.0.0/1 tun0; 128.0.0.0/1 tun0; default6 eth0 fe80::1",
        "ok default_route_not_via_tunnel",
        Note::InsideRoutesOk,
    ),
    (
        "IPv6 in the tunnel too",
        "full",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 0.0.0.0/1 tun0; 128.0.0.0/1 tun0; 2000::/3 tun0; default6 eth0 fe80::1",
        "ok",
        Note::InsideRoutesOk,
    ),
    // a route into the inside is missing
    (
        "one of two inside networks is not in the split list",
        "split",
        "10.20.0.0/16 172.30.0.0/16",
        "tun0 192.168.77.6/24; 10.20.0.0/16 tun0",
        "failed inside_route_missing",
        Note::InsideRouteMissing,
    ),
    (
        "its twin: both are",
        "split",
        "10.20.0.0/16 172.30.0.0/16",
        "tun0 192.168.77.6/24; 10.20.0.0/16 tun0; 172.30.0.0/16 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "only half of an inside network is",
        "split",
        "10.20.0.0/16",
        "tun0 192.168.77.6/24; 10.20.0.0/17 tun0",
        "failed inside_route_missing",
        Note::InsideRouteMissing,
    ),
    (
        "two halves are the whole",
        "split",
        "10.20.0.0/16",
        "tun0 192.168.77.6/24; 10.20.0.0/17 tun0; 10.20.128.0/17 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "a hole for one host that is asked for",
        "split",
        "10.20.0.0/16 10.20.0.53",
        "tun0 192.168.77.6/24; 10.20.0.0/16 tun0; 10.20.0.53/32 eth0 192.168.1.1",
        "failed inside_route_missing",
        Note::InsideRouteMissing,
    ),
    (
        "an unreachable route inside",
        "split",
        "10.20.0.0/16",
        "tun0 192.168.77.6/24; unreachable 10.20.0.0/16",
        "failed inside_route_missing",
        Note::InsideRouteMissing,
    ),
    // the class-based route
    (
        "the class-based route is not there",
        "split",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24",
        "failed inside_route_missing",
        Note::ClassRouteMissing,
    ),
    (
        "its twin: it is",
        "split",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; 10.0.0.0/8 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "only the class-based route is there, and the inside is of another class",
        "split",
        "172.30.0.0/16",
        "tun0 10.8.0.6/32; 10.0.0.0/8 tun0",
        "failed inside_route_missing",
        Note::ClassRouteOnly,
    ),
    (
        "a class B",
        "split",
        "172.30.7.0/24",
        "tun0 172.30.1.6/32; 172.30.0.0/16 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    // same subnet
    (
        "the office has the home's addresses, and home wins",
        "split",
        "192.168.1.0/24",
        "tun0 10.8.0.6/24; 192.168.1.0/24 tun0 metric 50",
        "failed same_subnet",
        Note::SameSubnet,
    ),
    (
        "and the tunnel wins",
        "split",
        "192.168.1.0/24",
        "tun0 10.8.0.6/24; 192.168.1.0/25 tun0; 192.168.1.128/25 tun0",
        "ok same_subnet",
        Note::InsideRoutesOk,
    ),
    (
        "the neighbour's network is none of ours",
        "split",
        "192.168.2.0/24",
        "tun0 10.8.0.6/24; 192.168.2.0/24 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "the home network is a small part of a large inside",
        "split",
        "192.168.0.0/16",
        "tun0 10.8.0.6/24; 192.168.0.0/16 tun0",
        "failed same_subnet",
        Note::SameSubnet,
    ),
    (
        "the inside is a small part of a large home network",
        "split",
        "10.20.0.0/16",
        "eth1 10.9.9.9/8; tun0 172.31.0.6/24; 10.20.0.0/16 tun0",
        "ok same_subnet",
        Note::InsideRoutesOk,
    ),
    (
        "and has no route of its own",
        "split",
        "10.20.0.0/16",
        "eth1 10.9.9.9/8; tun0 172.31.0.6/24",
        "failed same_subnet",
        Note::SameSubnet,
    ),
    (
        "a bridge for containers has inside addresses",
        "split",
        "172.16.0.0/12",
        "docker0 172.17.0.1/16; tun0 10.8.0.6/24; 172.16.0.0/12 tun0",
        "failed same_subnet",
        Note::SameSubnet,
    ),
    (
        "an address alone is no network",
        "split",
        "172.16.0.0/12",
        "lo1 172.17.0.1/32; tun0 10.8.0.6/24; 172.16.0.0/12 tun0",
        "ok",
        Note::InsideRoutesOk,
    ),
    (
        "not on the link itself: a missing route, no same subnet",
        "split",
        "192.168.9.0/24",
        "tun0 10.8.0.6/24; 192.168.9.0/24 eth0 192.168.1.2",
        "failed inside_route_missing",
        Note::InsideRouteMissing,
    ),
    // the tunnel is not up
    ("the tunnel's interface is not there", "split", "10.20.0.0/16", "", "unknown", Note::TunnelDown),
    ("it has no address", "split", "10.20.0.0/16", "tun0", "unknown", Note::TunnelDown),
    ("it is down", "split", "10.20.0.0/16", "tun0 10.8.0.6/24; tun0 down", "unknown", Note::TunnelDown),
    // what the kernel did not tell is no missing route
    (
        "the kernel would not tell",
        "",
        "10.20.0.0/16",
        "tun0 10.8.0.6/24; untold 10.20.0.0/16",
        "unknown",
        Note::WaysUntold,
    ),
];

#[test]
fn labelled_tables() {
    let mut wrong = Vec::new();
    for (what, intent, inside, more, step, note) in TABLE {
        let ways = ways(&format!("{HOME}; {more}"), inside, &[]);
        let judged = inside_routes(Some(&declared(intent, inside)), Some(&ways.around));
        if say(&judged) != *step || judged.said[0].note != *note {
            wrong.push(format!("{what}: {} {:?}", say(&judged), judged.said));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_tunnels_name_only_an_overlap_is_told() {
    let nameless = Inside { egress: None, interface: None, ..declared("", "192.168.1.0/24") };
    let around = |inside| Around { tunnel: None, ..(*ways(HOME, inside, &[]).around).clone() };
    let ways = around("192.168.1.0/24");
    assert_eq!(say(&inside_routes(Some(&nameless), Some(&ways))), "unknown same_subnet");
    let apart = around("10.20.0.0/16");
    assert_eq!(say(&inside_routes(Some(&nameless), Some(&apart))), "skipped");
    assert_eq!(say(&inside_routes(None, Some(&apart))), "skipped");
    assert_eq!(say(&inside_routes(Some(&nameless), None)), "unknown");
}

#[test]
fn two_faults_are_both_told_and_the_cause_leads() {
    // The default route is outside, and so is the inside network that only it would cover.
    let missing = ways(&format!("{HOME}; tun0 192.168.77.6/24"), "10.20.0.0/16", &[]);
    let judged = inside_routes(Some(&declared("full", "10.20.0.0/16")), Some(&missing.around));
    assert_eq!(say(&judged), "failed default_route_not_via_tunnel");
    let notes: Vec<Note> = judged.said.iter().map(|said| said.note).collect();
    assert_eq!(notes, [Note::DefaultNotViaTunnel, Note::InsideRouteMissing]);
}

const LOOP: &str = "0.0.0.0/1 tun0; 128.0.0.0/1 tun0";

const PINNED: &str = "0.0.0.0/1 tun0; 128.0.0.0/1 tun0; 192.0.2.1/32 eth0 192.168.1.1";

#[test]
fn the_concentrator_in_its_own_tunnel() {
    let silent = || observed("ike", Outcome::Lost(Reason::NoAnswer));
    let well = || observed("ike", Outcome::OK);
    let unsent = || observed("ike", Outcome::Unsent(Fault::Budget));
    let of = |table: &str, seen: Vec<Observed>| Survey {
        time: WallTime::from_unix_secs(1_795_305_600),
        host: "192.0.2.1".to_owned(),
        resolved: Ok(Vec::new()),
        routes: Vec::new(),
        ways: Some(ways(&format!("{HOME}; tun0 10.8.0.6/24; {table}"), "", &["192.0.2.1"])),
        observed: seen,
        inside: Vec::new(),
        session: None,
    };
    let rows = [
        ("the host route was lost", LOOP, vec![silent()], false, "failed default_route_via_tunnel"),
        ("its twin: it is there, and the box is silent all the same", PINNED, vec![silent()], false, ""),
        (
            "through the tunnel and answered: no circle",
            LOOP,
            vec![well()],
            false,
            "ok default_route_via_tunnel",
        ),
        (
            "nothing was sent: no evidence of a circle",
            LOOP,
            vec![unsent()],
            false,
            "ok default_route_via_tunnel",
        ),
        ("meant to go through it", LOOP, vec![silent()], true, ""),
    ];
    for (what, table, seen, meant, expected) in rows {
        let judged = own_tunnel(&of(table, seen), meant);
        assert_eq!(judged.as_ref().map(say).unwrap_or_default(), expected, "{what}");
    }
    let mut elsewhere = of(LOOP, vec![silent()]);
    Arc::make_mut(&mut elsewhere.ways.as_mut().unwrap().around).namespace = Some("branch".to_owned());
    assert!(own_tunnel(&elsewhere, false).is_none(), "another namespace has another tun0");
}
