//! A scripted peer.

use super::*;
use crate::probe::icmp::tests::exchange;
use crate::probe::{IcmpError, Settings as All};
use crate::sample::Fault;

fn run(event: Event<'_>) -> Report {
    let mut connect = exchange("tcp", "203.0.113.10", All::default());
    assert_eq!(connect.transport(), Transport::Tcp { port: 443 });
    let mut out = Vec::new();
    assert_eq!(connect.poll(Timestamp::from_secs(10), &mut out), Step::Wait(Timestamp::from_secs(12)));
    let at = Timestamp::from_millis(10_030);
    assert_eq!(connect.handle(event, at), Handled::Taken);
    let Step::Report(report) = connect.poll(at, &mut out) else { panic!("no report") };
    assert_eq!(connect.poll(at, &mut out), Step::End);
    assert!(out.is_empty(), "nothing is ever sent");
    report
}

#[test]
fn an_open_connection_is_an_answer() {
    let report = run(Event::Connected);
    let took = Duration::from_millis(30);
    assert_eq!(report, Report { phases: vec![(Phase::Connect, took)], ..Report::timed(Outcome::OK, took) });
}

#[test]
fn refusals_keep_their_reason() {
    assert_eq!(run(Event::Reset).outcome, Outcome::Refused(Reason::ConnectionRefused));
    let error = IcmpError::Unreachable(Reason::AdminProhibited);
    let icmp = Event::Icmp { from: None, error, quoted: &[] };
    assert_eq!(run(icmp).outcome, Outcome::Refused(Reason::AdminProhibited));
    assert_eq!(run(Event::Failed(Fault::NoRoute)).outcome, Outcome::Unsent(Fault::NoRoute));
}

#[test]
fn silence_is_lost() {
    let mut connect = exchange("tcp", "2001:db8:3::10", All::default());
    let error = Event::Icmp { from: None, error: IcmpError::TooBig(1280), quoted: &[] };
    connect.handle(error, Timestamp::from_secs(11));
    let step = connect.poll(Timestamp::from_secs(12), &mut Vec::new());
    assert_eq!(step, Step::Report(Report::new(Outcome::Lost(Reason::NoAnswer))));
    connect.handle(Event::Connected, Timestamp::from_secs(13));
    assert_eq!(connect.poll(Timestamp::from_secs(13), &mut Vec::new()), Step::End);
}
