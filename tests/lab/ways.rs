//! The ways a server can fail to answer, and what a probe must say of each of them.
//!
//! Each row is what can truly be known from outside, no more: a frozen server and a packet filter that
//! drops are the same silence, a server that has ended is a closed port.

use crate::harness::{CONC, Lab};

/// A server and a probe of it.
pub struct Way<'a> {
    /// How `lab.sh` starts the server.
    pub start: &'a str,
    /// The server's name for `lab.sh freeze` and `stop`.
    pub server: &'a str,
    /// The kind of probe.
    pub kind: &'a str,
    /// More of the probe's mapping: `"port: 8443"`.
    pub probe: &'a str,
    /// YAML lines of the target.
    pub settings: &'a str,
    /// What the packet filter matches, toward the server.
    pub packets: &'a str,
    /// What a probe says of a server that is well: `"answered"`.
    pub well: &'a str,
    /// What a probe says of one whose kernel still accepts, while the program stands still.
    pub frozen: &'a str,
    /// The concentrator's addresses it serves.
    pub addresses: &'a [&'a str],
}

impl Way<'_> {
    /// A probe over UDP of a server that serves both families.
    pub const UDP: Self = Self {
        start: "",
        server: "",
        kind: "",
        probe: "",
        settings: "",
        packets: "",
        well: "answered",
        frozen: "lost no_answer",
        addresses: &CONC,
    };

    /// Walks through all of them; panics with every row that was wrong. The lab it was in, the server
    /// well again.
    #[track_caller]
    pub fn walk(&self) -> Lab {
        let lab = Lab::with(&[self.start]);
        let mut wrong = Vec::new();
        let mut expect = |when: &str, said: &str| {
            for address in self.addresses {
                let check = lab.check_probe(address, self.kind, self.probe, self.settings);
                let expected = format!("{} {said}", self.kind);
                if let Some(mismatch) = check.mismatch(&[&expected]) {
                    wrong.push(format!("{when}, {address}: {mismatch}"));
                }
            }
        };
        let tcp = self.packets.starts_with("tcp");
        expect("well", self.well);
        for (fault, said) in [
            ("drop", "lost no_answer"),
            ("admin", "refused admin_prohibited"),
            if tcp { ("reset", "refused connection_refused") } else { ("port", "refused port_unreachable") },
        ] {
            lab.script(&format!("fault {fault} {}", self.packets));
            expect(fault, said);
            lab.script("clear");
        }
        lab.script(&format!("freeze {}", self.server));
        expect("frozen", self.frozen);
        lab.script(&format!("thaw {}", self.server));
        lab.script(&format!("stop {}", self.server));
        expect("stopped", if tcp { "refused connection_refused" } else { "refused port_unreachable" });
        lab.script(&format!("start {}", self.start));
        expect("well again", self.well);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        lab
    }
}
