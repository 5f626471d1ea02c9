//! Exchanges in tests: driven by hand, with times made by hand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::entropy::Generator;
use crate::probe::{Event, Exchange, Form, Handled, IcmpError, Kind, Settings, Spec, Start, Step};
use crate::sample::{Outcome, Reason, Report};
use crate::time::{Timestamp, WallTime};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// An exchange and all that is needed to talk to it.
pub(crate) struct Script {
    pub(crate) exchange: Box<dyn Exchange>,
    pub(crate) from: SocketAddr,
    pub(crate) now: Timestamp,
}

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

impl Script {
    /// Begins at 1 s.
    pub(crate) fn begin(kind: &str, settings: Settings, pick: impl FnOnce(&Spec) -> &'static Form) -> Self {
        let kind = Kind::named(kind).unwrap();
        let spec = Spec {
            name: kind.name.to_owned(),
            kind,
            port: kind.port,
            interval: kind.interval,
            timeout: TIMEOUT,
            full_interval: Duration::from_secs(60),
            host: None,
            settings: std::sync::Arc::new(settings),
        };
        let peer: IpAddr = "203.0.113.10".parse().unwrap();
        let start = Start {
            now: at(1000),
            wall: WallTime::default(),
            peer,
            local: Some("192.0.2.10:40000".parse().unwrap()),
            timeout: TIMEOUT,
            form: pick(&spec),
            token: 0,
            entropy: &mut Generator::seeded(7),
        };
        let exchange = (kind.begin)(&spec, start);
        Self { exchange, from: SocketAddr::new(peer, kind.port), now: at(1000) }
    }

    /// What it sends now; it is taken to have left at once.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(self.exchange.poll(self.now, &mut out), Step::Send);
        assert_eq!(self.exchange.handle(Event::Sent, self.now), Handled::Taken);
        out
    }

    /// Hands it a datagram of the peer.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Handled {
        self.exchange.handle(Event::Received { from: self.from, bytes }, self.now)
    }

    pub(crate) fn wait(&mut self) -> Timestamp {
        match self.exchange.poll(self.now, &mut Vec::new()) {
            Step::Wait(until) => until,
            step => panic!("{step:?}"),
        }
    }

    /// Its report, after which it must end.
    pub(crate) fn report(&mut self) -> Report {
        let Step::Report(report) = self.exchange.poll(self.now, &mut Vec::new()) else { panic!("no report") };
        assert_eq!(self.exchange.poll(self.now, &mut Vec::new()), Step::End);
        report
    }

    /// Answers after 10 ms and takes the report.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> Report {
        self.now = self.now + Duration::from_millis(10);
        assert_eq!(self.receive(bytes), Handled::Taken);
        self.report()
    }

    /// Says nothing until the deadline and takes the report.
    pub(crate) fn silence(&mut self) -> Report {
        self.now = self.wait();
        self.report()
    }

    pub(crate) fn icmp(&mut self, reason: Reason, quoted: &[u8]) -> Handled {
        let error = IcmpError::Unreachable(reason);
        self.exchange.handle(Event::Icmp { from: None, error, quoted }, self.now)
    }
}

/// The text under a key of a report's details.
pub(crate) fn text<'a>(report: &'a Report, key: &str) -> &'a str {
    report.findings.as_ref().unwrap().details.get_text(key).unwrap_or("")
}

/// A report that silence of the peer must have led to.
pub(crate) fn is_silence(report: &Report) {
    assert_eq!(*report, Report::new(Outcome::Lost(Reason::NoAnswer)));
}
