//! The rows of the table. A row leaves the lab as it found it.

use std::time::Duration;

use rustix::process::Signal;

use super::bench::{Bench, CONFIG};
use super::relay::Manner;
use crate::harness::until;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Ours, or this host's: no evidence against anybody.
    Own,
    Network,
    Peer,
}

/// One fault.
pub struct Row {
    /// Its number in the list of faults, and what is wrong.
    pub what: &'static str,
    pub class: Class,
    /// What must be said meanwhile, by probe; `*` is every probe that is not named. A word with a `?` may be
    /// said and need not be.
    pub says: &'static [(&'static str, &'static [&'static str])],
    /// Metrics that grow.
    pub grows: &'static [&'static str],
    /// How long it lasts.
    pub lasts: Duration,
    pub make: fn(&Bench<'_>),
    pub undo: fn(&Bench<'_>),
    /// What it takes hold of; two rows that take hold of the same thing cannot be made at once.
    pub holds: &'static [&'static str],
}

const USUAL: Duration = Duration::from_millis(2700);

/// What most rows are like.
const fn row(
    what: &'static str,
    class: Class,
    says: &'static [(&'static str, &'static [&'static str])],
) -> Row {
    Row { what, class, says, grows: &[], lasts: USUAL, make: |_| {}, undo: |_| {}, holds: &[] }
}

const ANSWERED: &[&str] = &["answered"];
const NO_ANSWER: &[&str] = &["lost no_answer"];
const NO_ROUTE: &[&str] = &["unsent no_route"];
const RESOURCE: &[&str] = &["unsent resource"];
const ALL: &str = "*";

fn forward(bench: &Bench<'_>, rule: &str) {
    bench.lab.script(&format!("exec r1 nft add table inet weather ; add chain inet weather forward {{ type filter hook forward priority 0 ; }} ; add rule inet weather forward {rule}"));
}

fn fair(bench: &Bench<'_>) {
    bench.lab.script("exec r1 nft delete table inet weather");
}

fn output(bench: &Bench<'_>, rule: &str) {
    bench.client(&format!("nft add table inet host ; add chain inet host output {{ type filter hook output priority 0 ; }} ; add rule inet host output {rule}"));
}

fn no_output(bench: &Bench<'_>) {
    bench.client("nft delete table inet host");
}

fn bend(bench: &Bench<'_>, kind: &str) {
    bench.client(&format!("ip route add {kind} 203.0.113.0/24 metric 1"));
}

fn straighten(bench: &Bench<'_>, kind: &str) {
    bench.client(&format!("ip route del {kind} 203.0.113.0/24 metric 1"));
}

const CLEAN: fn(&Bench<'_>) = |bench| bench.relay.be(Manner::Clean);
const MEND: fn(&Bench<'_>) = |bench| bench.mend();
const SENDS: &str = "sendto,sendmsg,sendmmsg";
const READS: &str = "recvfrom,recvmsg,recvmmsg";

pub fn rows() -> Vec<Row> {
    use Class::{Network, Own, Peer};
    let relay = |what, says, make| Row { make, undo: CLEAN, holds: &["relay"], ..row(what, Network, says) };
    let calls = |what, says, make| Row { make, undo: MEND, holds: &["calls"], ..row(what, Own, says) };
    let weather =
        |what, says, make| Row { make, undo: fair, holds: &["weather"], ..row(what, Network, says) };
    vec![
        // The network.
        weather("1 each seventh packet is lost", &[(ALL, &["answered?", "lost no_answer?"])], |bench| {
            forward(bench, "numgen inc mod 7 == 0 drop");
        }),
        weather("1 each twentieth packet is lost", &[(ALL, &["answered", "lost no_answer?"])], |bench| {
            forward(bench, "numgen inc mod 20 == 0 drop");
        }),
        weather("1 all packets are lost", &[(ALL, NO_ANSWER)], |bench| forward(bench, "drop")),
        weather("2 all are lost on the way there", &[(ALL, NO_ANSWER)], |bench| {
            forward(bench, "ip daddr 203.0.113.0/24 drop");
        }),
        weather("2 all are lost on the way back", &[(ALL, NO_ANSWER)], |bench| {
            forward(bench, "ip saddr 203.0.113.0/24 drop");
        }),
        relay("3 answers come half a timeout late", &[(ALL, ANSWERED)], |bench| {
            bench.relay.be(Manner::Delayed)
        }),
        Row {
            grows: &["vpnprobe_late_replies_total"],
            ..relay("3 answers come after the timeout", &[("far", NO_ANSWER), (ALL, ANSWERED)], |bench| {
                bench.relay.be(Manner::TooLate);
            })
        },
        relay("4 jitter of 400 ms", &[(ALL, ANSWERED)], |bench| bench.relay.be(Manner::Jitter)),
        relay("5 answers overtake each other", &[(ALL, ANSWERED)], |bench| bench.relay.be(Manner::Reordered)),
        Row {
            grows: &["vpnprobe_duplicates_total"],
            ..relay("6 each answer comes three times", &[(ALL, ANSWERED)], |bench| {
                bench.relay.be(Manner::Doubled);
            })
        },
        Row {
            grows: &["vpnprobe_unmatched_packets_total"],
            ..relay("7 answers with a bit turned over", &[("far", NO_ANSWER), (ALL, ANSWERED)], |bench| {
                bench.relay.be(Manner::Corrupt);
            })
        },
        Row {
            grows: &["vpnprobe_unmatched_packets_total"],
            ..relay("8 answers cut off after 20 octets", &[("far", NO_ANSWER), (ALL, ANSWERED)], |bench| {
                bench.relay.be(Manner::Truncated);
            })
        },
        Row {
            make: |bench| {
                // The ports that its flows have now, as a firewall would remember them.
                let sockets = bench.lab.run("client", "ss -Hun dst 203.0.113.10:500");
                let port = |line: &str| Some(line.split_whitespace().nth(2)?.rsplit_once(':')?.1.to_owned());
                let ports: Vec<String> = sockets.lines().filter_map(port).collect();
                assert!(!ports.is_empty(), "{sockets}");
                forward(bench, &format!("udp sport {{ {} }} drop", ports.join(" , ")));
            },
            lasts: Duration::from_secs(12),
            ..weather(
                "10, 11 a middlebox drops one flow, and not a new one",
                &[("ike", &["lost no_answer", "unsent form_unproven?", "answered"]), (ALL, ANSWERED)],
                |_| {},
            )
        },
        weather("12 UDP 4500 is shut", &[("ike_natt", NO_ANSWER), (ALL, ANSWERED)], |bench| {
            forward(bench, "udp dport 4500 drop");
        }),
        weather("13 ICMP is filtered", &[("icmp", NO_ANSWER), (ALL, ANSWERED)], |bench| {
            forward(bench, "meta l4proto icmp drop");
        }),
        weather(
            "13 a filter on the way refuses, and says so",
            &[(ALL, &["refused admin_prohibited"])],
            |bench| forward(bench, "ip daddr 203.0.113.0/24 reject with icmp admin-prohibited"),
        ),
        Row {
            grows: &["vpnprobe_unmatched_packets_total"],
            ..relay("15 forged answers before the true one", &[(ALL, ANSWERED)], |bench| {
                bench.relay.be(Manner::Forged);
            })
        },
        Row {
            grows: &["vpnprobe_unmatched_packets_total"],
            ..relay(
                "16 a flood before each answer",
                &[("far", &["answered?", "unsent receive_overflow?"]), (ALL, ANSWERED)],
                |bench| bench.relay.be(Manner::Flooded),
            )
        },
        relay("43 another host answers", &[("far", NO_ANSWER), (ALL, ANSWERED)], |bench| {
            bench.relay.be(Manner::WrongHost);
        }),
        // This host.
        Row {
            make: |bench| bench.client("ip link set eth0 down"),
            undo: |bench| {
                bench.client("ip link set eth0 up");
                bench.client("ip route replace default via 192.0.2.1");
                until("the link is up", 10, || {
                    bench.lab.run("client", "ip link show eth0").contains("state UP")
                        && bench.lab.run("r1", "ip link show lan").contains("state UP")
                });
            },
            holds: &["route"],
            ..row("17 the link is down", Own, &[(ALL, NO_ROUTE)])
        },
        Row {
            make: |bench| bench.client("ip addr del 192.0.2.10/24 dev eth0"),
            undo: |bench| {
                bench.client("ip addr add 192.0.2.10/24 dev eth0");
                bench.client("ip route replace default via 192.0.2.1");
            },
            holds: &["route"],
            ..row("18 the address is gone", Own, &[(ALL, NO_ROUTE)])
        },
        Row {
            make: |bench| {
                bench.client("ip addr del 192.0.2.10/24 dev eth0");
                bench.client("ip addr add 192.0.2.77/24 dev eth0");
                bench.client("ip route replace default via 192.0.2.1");
            },
            undo: |bench| {
                bench.client("ip addr del 192.0.2.77/24 dev eth0");
                bench.client("ip addr add 192.0.2.10/24 dev eth0");
                bench.client("ip route replace default via 192.0.2.1");
            },
            holds: &["route"],
            ..row("18 the address is another", Own, &[(ALL, &["answered", "unsent no_route?"])])
        },
        Row {
            make: |bench| bench.client("ip route del default"),
            undo: |bench| bench.client("ip route add default via 192.0.2.1"),
            holds: &["route"],
            ..row("19 there is no route", Own, &[(ALL, NO_ROUTE)])
        },
        Row {
            make: |bench| bend(bench, "blackhole"),
            undo: |bench| straighten(bench, "blackhole"),
            holds: &["route"],
            ..row("19 the route is a black hole", Own, &[(ALL, NO_ROUTE)])
        },
        Row {
            make: |bench| bend(bench, "prohibit"),
            undo: |bench| straighten(bench, "prohibit"),
            holds: &["route"],
            ..row("19 the route is prohibited", Own, &[(ALL, NO_ROUTE)])
        },
        Row {
            make: |bench| bend(bench, "unreachable"),
            undo: |bench| straighten(bench, "unreachable"),
            holds: &["route"],
            ..row("19 the route is unreachable", Own, &[(ALL, NO_ROUTE)])
        },
        Row {
            make: |bench| output(bench, "ip daddr 203.0.113.0/24 drop"),
            undo: no_output,
            holds: &["output"],
            ..row("20, 21 this host's firewall drops", Own, &[(ALL, &["unsent local_firewall"])])
        },
        Row {
            make: |bench| bench.client("tc qdisc add dev eth0 root tbf rate 8bit burst 100 limit 1"),
            undo: |bench| bench.client("tc qdisc del dev eth0 root"),
            holds: &["queue"],
            ..row("22 the send queue is full", Own, &[(ALL, RESOURCE)])
        },
        calls("22 ENOBUFS at each send", &[(ALL, RESOURCE)], |bench| bench.fail(SENDS, "error=ENOBUFS")),
        calls("22 ENOMEM at each send", &[(ALL, RESOURCE)], |bench| bench.fail(SENDS, "error=ENOMEM")),
        calls("22 EAGAIN at each send", &[(ALL, RESOURCE)], |bench| bench.fail(SENDS, "error=EAGAIN")),
        calls("20 EPERM at each send", &[(ALL, &["unsent local_firewall"])], |bench| {
            bench.fail(SENDS, "error=EPERM");
        }),
        calls(
            "22, 30 no descriptor is left for the engine",
            &[("dns", RESOURCE), (ALL, ANSWERED)],
            |bench| {
                bench.fail("socket", "error=EMFILE");
            },
        ),
        calls("22 the host has no descriptor left", &[("dns", RESOURCE), (ALL, ANSWERED)], |bench| {
            bench.fail("socket", "error=ENFILE");
        }),
        // Where each retry falls on a third one, nothing is read.
        calls(
            "22 each third read fails for want of memory",
            &[(ALL, &["answered?", "unsent resource?"])],
            |bench| {
                bench.fail(READS, "error=ENOMEM:when=1+3");
            },
        ),
        calls(
            "22 no read succeeds for want of memory",
            &[(ALL, &["unsent resource", "answered?"])],
            |bench| {
                bench.fail(READS, "error=ENOMEM");
            },
        ),
        calls("22 each second wait is interrupted", &[(ALL, ANSWERED)], |bench| {
            bench.fail("epoll_wait,epoll_pwait,epoll_pwait2", "error=EINTR:when=1+2");
        }),
        Row {
            make: |bench| bench.signal(Signal::STOP),
            undo: |bench| bench.signal(Signal::CONT),
            holds: &["calls"],
            ..row("25 stopped, and let go on", Own, &[(ALL, &["answered?", "unsent stalled?"])])
        },
        Row {
            make: |bench| {
                for n in 0..40 {
                    bench.lab.config("serve.yml", if n % 2 == 0 { "targets: [" } else { CONFIG });
                    bench.signal(Signal::HUP);
                    std::thread::sleep(Duration::from_millis(5));
                }
                bench.lab.config("serve.yml", "targets: [");
                bench.signal(Signal::HUP);
            },
            undo: |bench| {
                bench.lab.config("serve.yml", CONFIG);
                bench.signal(Signal::HUP);
                until("the good file is taken", 10, || {
                    bench.daemon.metrics().get("vpnprobe_config_last_reload_successful", &[]) > 0.5
                });
            },
            holds: &["calls"],
            ..row("32 a storm of reloads, and a bad file", Own, &[(ALL, ANSWERED)])
        },
        // The peer.
        Row {
            make: |bench| drop(bench.lab.script("freeze strongswan")),
            undo: |bench| drop(bench.lab.script("thaw strongswan")),
            holds: &["peer"],
            ..row(
                "34 the IKE daemon hangs",
                Peer,
                &[("ike", NO_ANSWER), ("ike_natt", NO_ANSWER), ("far", NO_ANSWER), (ALL, ANSWERED)],
            )
        },
        Row {
            make: |bench| drop(bench.lab.script("stop strongswan")),
            undo: |bench| drop(bench.lab.script("start strongswan")),
            holds: &["peer"],
            ..row(
                "34 the IKE daemon has ended, and begins again",
                Peer,
                &[
                    ("ike", &["refused port_unreachable"]),
                    ("ike_natt", &["refused port_unreachable"]),
                    ("far", NO_ANSWER),
                    (ALL, ANSWERED),
                ],
            )
        },
        Row {
            make: |bench| drop(bench.lab.script("stop unbound")),
            undo: |bench| drop(bench.lab.script("start unbound")),
            holds: &["names"],
            ..row(
                "27 the resolver has ended",
                Peer,
                &[("dns", &["refused port_unreachable"]), (ALL, ANSWERED)],
            )
        },
        Row {
            make: |bench| bench.lab.script("freeze unbound").clear(),
            undo: |bench| drop(bench.lab.script("thaw unbound")),
            holds: &["names"],
            ..row("27 the resolver hangs", Peer, &[("dns", NO_ANSWER), (ALL, ANSWERED)])
        },
    ]
}
