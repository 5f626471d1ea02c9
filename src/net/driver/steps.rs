//! What an exchange asks for, done: channels opened and closed, results reported; bytes: see `sends`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use super::super::{fault, socket};
use super::arrivals::queue_errors;
use super::departures::own_socket;
use super::{
    Channel, Clock, Driver, Drops, Event, Fault, Happening, Outcome, Owner, POLLS, Past, Phase, Reason,
    Report, Run, Step, Timestamp, Transport,
};

/// The shortest pause between two polls of an exchange that waits.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

impl Driver {
    pub(super) fn open_channel(&mut self, index: u32, run: &mut Run, transport: Transport, now: Timestamp) {
        self.close_channel(run);
        run.whole = matches!(transport, Transport::Whole { .. });
        match self.channel(index, run, transport) {
            Ok(channel) => {
                match &channel {
                    Channel::Tcp { .. } => {
                        self.streams += 1;
                        run.sent.get_or_insert(now);
                    }
                    Channel::Icmp(shared) => self.waits(*shared, run.reported.is_none()),
                    _ => {}
                }
                run.channel = channel;
            }
            Err(fault) => {
                run.exchange.handle(Event::Failed(fault), now);
            }
        }
    }

    pub(super) fn channel(
        &mut self,
        index: u32,
        run: &mut Run,
        transport: Transport,
    ) -> Result<Channel, Fault> {
        let state = self.flows.get(run.flow.0 as usize).and_then(Option::as_ref).ok_or(Fault::Internal)?;
        let (peer, egress) = (state.peer, Arc::clone(&state.egress));
        let pinned = state.pinned.is_some();
        let opened = match transport {
            // A socket of its own would need a right that is gone by now.
            Transport::Icmp | Transport::Whole { port: 0 } => {
                self.shared_icmp(peer.is_ipv6(), &egress).map(Channel::Icmp)
            }
            Transport::Udp { connected: true, port } if pinned && port == state.port => Ok(Channel::Pinned),
            Transport::Udp { port, connected } => {
                socket::udp(SocketAddr::new(peer, port), connected, &egress).and_then(|socket| {
                    self.poller.add(&socket, Owner::Run(index).key(), false)?;
                    Ok(Channel::Udp { socket, port, connected, drops: Drops::default() })
                })
            }
            Transport::Tcp { port } => {
                socket::tcp(SocketAddr::new(peer, port), &egress, None).and_then(|socket| {
                    self.poller.add(&socket, Owner::Run(index).key(), true)?;
                    Ok(Channel::Tcp { socket, connected: false, unsent: Vec::new(), watching: true })
                })
            }
            Transport::Syn { port, ttl } => {
                let limited = Some((ttl, run.local_port));
                socket::tcp(SocketAddr::new(peer, port), &egress, limited).and_then(|socket| {
                    run.local_port = socket::local_address(&socket).map_or(0, |local| local.port());
                    self.poller.add(&socket, Owner::Run(index).key(), true)?;
                    Ok(Channel::Tcp { socket, connected: false, unsent: Vec::new(), watching: true })
                })
            }
            Transport::Whole { port } => {
                socket::whole_udp(SocketAddr::new(peer, port), &egress).and_then(|socket| {
                    self.poller.add(&socket, Owner::Run(index).key(), false)?;
                    Ok(Channel::Udp { socket, port, connected: true, drops: Drops::default() })
                })
            }
            Transport::None => Ok(Channel::Closed),
        };
        opened.map_err(|error| match transport {
            // Starting a connection sends its first packet.
            Transport::Tcp { .. } | Transport::Syn { .. } => fault::of_send(&error),
            _ => fault::of_open(&error),
        })
    }

    /// Counts the runs on a shared socket that want an answer.
    fn waits(&mut self, shared: usize, more: bool) {
        if let Some(shared) = self.icmp.get_mut(shared) {
            shared.waiting = if more { shared.waiting + 1 } else { shared.waiting.saturating_sub(1) };
        }
    }

    pub(super) fn close_channel(&mut self, run: &mut Run) {
        match run.channel {
            Channel::Tcp { .. } => self.streams = self.streams.saturating_sub(1),
            Channel::Icmp(shared) if run.reported.is_none() => self.waits(shared, false),
            _ => {}
        }
        run.channel = Channel::Closed; // closing a descriptor takes it out of the poller
    }

    /// Polls a run until it waits, and puts it back unless it is over.
    pub(super) fn advance(&mut self, index: u32, mut run: Box<Run>, out: &mut Vec<Happening>) {
        let mut now = self.clock.now();
        for _ in 0..POLLS {
            let mut bytes = std::mem::take(&mut self.out);
            bytes.clear();
            let step = run.exchange.poll(now, &mut bytes);
            match step {
                Step::Send if matches!(run.channel, Channel::Icmp(_)) && !run.whole => {
                    let (all, whose) = &mut self.outbox;
                    all.extend_from_slice(&bytes);
                    whose.push((index, run.generation, bytes.len()));
                    self.out = bytes;
                    self.put_back(index, run);
                    return;
                }
                Step::Send => self.send(index, &mut run, &bytes, None, None),
                Step::SendTtl(ttl) => self.send(index, &mut run, &bytes, Some(ttl), None),
                Step::SendTo(port) => self.send(index, &mut run, &bytes, None, Some(port)),
                Step::SendBeside => self.send_beside(index, &mut run, &bytes),
                Step::Open(transport) => self.open_channel(index, &mut run, transport, now),
                Step::Wait(until) => {
                    self.out = bytes;
                    self.wait(index, &mut run, until, now);
                    self.put_back(index, run);
                    return;
                }
                Step::Report(report) => {
                    self.out = bytes;
                    self.report(&mut run, now, report, out);
                    continue;
                }
                Step::End => {
                    self.out = bytes;
                    self.end(index, run, now, out);
                    return;
                }
            }
            self.out = bytes;
            now = self.clock.now();
        }
        // An exchange that never waits is a defect of ours.
        self.report(&mut run, now, Report::new(Outcome::Unsent(Fault::Internal)), out);
        self.end(index, run, now, out);
    }

    pub(super) fn wait(&mut self, index: u32, run: &mut Run, until: Timestamp, now: Timestamp) {
        // An exchange that waits for the past is polled again, but not in a tight loop.
        let until = if until > now { until } else { now + SHORTEST_WAIT };
        if run.wait != until {
            run.wait = until;
            self.timers.push(until, (index, run.generation));
        }
    }

    pub(super) fn report(
        &mut self,
        run: &mut Run,
        now: Timestamp,
        mut report: Report,
        out: &mut Vec<Happening>,
    ) {
        if run.reported.is_some() {
            return;
        }
        let (from, to) = self.stall;
        let stalled = run.began < to && now > from && to > Timestamp::ZERO;
        if self.patience.unsure {
            report.rtt = None;
        }
        if stalled && matches!(run.channel, Channel::Tcp { .. }) {
            // Parts of a stream are timed by our own reading of the clock, which was late.
            report.rtt = None;
            report.phases.clear();
        }
        if report.outcome == Outcome::Lost(Reason::NoAnswer) {
            if stalled {
                report.outcome = Outcome::Unsent(Fault::Stalled);
            } else if let Some(fault) = (0..2).find_map(|which| self.drops_of(run, which)?.1.deaf) {
                report.outcome = Outcome::Unsent(fault);
            } else if self.overflowed(run, now, out) {
                report.outcome = Outcome::Unsent(Fault::ReceiveOverflow);
            }
        }
        let silent = matches!(
            report.outcome,
            Outcome::Lost(Reason::NoAnswer)
                | Outcome::Refused(Reason::HostUnreachable | Reason::NetUnreachable)
                | Outcome::Unsent(Fault::NoRoute | Fault::Egress)
        );
        if silent && let Some(fault) = self.way_fault(run) {
            report.outcome = Outcome::Unsent(fault);
        }
        if matches!(report.outcome, Outcome::Unsent(Fault::NoRoute | Fault::Egress | Fault::Permission))
            && let Some(state) = self.flows.get_mut(run.flow.0 as usize).and_then(Option::as_mut)
        {
            state.stale = true;
        }
        if !matches!(report.outcome, Outcome::Unsent(_)) {
            report.phases.extend(run.round_trip.map(|took| (Phase::TcpKernel, took)));
        }
        run.reported = Some(report.outcome);
        if let Channel::Icmp(shared) = run.channel {
            self.waits(shared, false);
        }
        out.push(Happening::Done { tag: run.tag, sent: run.sent, done: now, report });
    }

    /// What was dropped where a run's answer was due: a flow that was bound anew has two sockets.
    fn drops_of<'a>(&'a mut self, run: &'a mut Run, which: usize) -> Option<(&'a Socket, &'a mut Drops)> {
        match &mut run.channel {
            Channel::Pinned => {
                let state = self.flows.get_mut(run.flow.0 as usize).and_then(Option::as_mut)?;
                if which == 0 { state.current() } else { state.before() }
            }
            _ if which > 0 => None,
            Channel::Icmp(index) => {
                let shared = self.icmp.get_mut(*index)?;
                Some((shared.socket.as_ref()?, &mut shared.drops))
            }
            Channel::Udp { socket, drops, .. } => Some((socket, drops)),
            Channel::Closed | Channel::Tcp { .. } => None,
        }
    }

    /// Whether an answer may have been dropped at our own socket.
    fn overflowed(&mut self, run: &mut Run, now: Timestamp, out: &mut Vec<Happening>) -> bool {
        let turn = self.woke;
        let mut table = std::mem::take(&mut self.dropped);
        let began = run.began;
        let explained = (0..2).any(|which| {
            let Some((socket, drops)) = self.drops_of(run, which) else { return false };
            if drops.explain(began) {
                return true;
            }
            let told = if drops.doubtful(began) { table.dropped(socket, turn, now) } else { None };
            let new = told.map_or(0, |count| drops.note(count, now));
            if new > 0 {
                out.push(Happening::Overflow(new));
            }
            drops.explain(began)
        });
        self.dropped = table;
        explained
    }

    /// Ends a run: a datagram flow lingers, to tell late replies and duplicates from strangers.
    pub(super) fn end(&mut self, index: u32, mut run: Box<Run>, now: Timestamp, out: &mut Vec<Happening>) {
        if run.reported.is_none() {
            self.report(&mut run, now, Report::new(Outcome::Unsent(Fault::Internal)), out);
        }
        run.ended = true;
        match run.channel {
            _ if self.closing(run.flow) => {
                self.forget(index, run);
            }
            Channel::Icmp(_) if !run.exchange.knows_headers() => match run.exchange.token() {
                Some(token) => {
                    let answered = run.reported.and_then(Outcome::received) == Some(true);
                    let (until, series) = (now + run.timeout, run.tag.series);
                    self.remember(run.flow, Past { token, until, series, answered });
                    self.release(index, run);
                }
                None => self.forget(index, run),
            },
            Channel::Icmp(_) | Channel::Pinned | Channel::Udp { .. } => {
                run.wait = Timestamp::FAR;
                self.lingering.push_back((now + run.timeout, index, run.generation));
                self.put_back(index, run);
            }
            Channel::Closed | Channel::Tcp { .. } => self.forget(index, run),
        }
    }

    /// Empties the error queue of a run's socket into the pending list.
    pub(super) fn drain_errors(&mut self, index: u32, run: &Run) {
        let own = match &run.channel {
            Channel::Icmp(shared) => return self.read_departures(*shared),
            Channel::Tcp { socket, .. } => Some((Owner::Run(index), socket)),
            _ => own_socket(&self.flows, index, run),
        };
        if let Some((owner, socket)) = own {
            let now = self.errors_now();
            queue_errors(&mut self.errors, socket, owner, now, &mut self.pending);
        }
    }
}
