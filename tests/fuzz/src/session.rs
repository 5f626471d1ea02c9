//! A session whose peer has the keys, and lies.
//!
//! ```text
//! input   stage 1 | frames (src/frames.rs, without overlays)
//! stage   before IKE_SA_INIT is answered, before IKE_AUTH is, or up
//! sealed  exchange 1 | flags 1 | message id 1 | first payload 1 | number 1 | total 1 | chain of payloads
//! ```
//!
//! What must hold: it waits for a time that comes, ends soon after it was told to stop, and is never up while
//! nobody has proved that he knows the key.

use std::time::Duration;

use vpnprobe::session::{Action, Session};
use vpnprobe::time::Timestamp;
use vpnprobe::wire::ike::{ExchangeType, Fragment, Header, PayloadType, Version};

use crate::frames::Frame;
use crate::responder::{self, BEGIN, Responder, marked, responder};
use crate::{Targets, canary};

/// The targets here.
pub const TARGETS: Targets = &[("session", session)];

const MOST: usize = 16;

struct Run {
    session: Session,
    now: Timestamp,
    wake: Timestamp,
    ended: bool,
    fail: bool,
}

impl Run {
    fn poll(&mut self) {
        let mut out = Vec::new();
        for _ in 0..200 {
            out.clear();
            match self.session.poll(self.now, &mut out) {
                Action::Send => {
                    assert!(!out.is_empty(), "it sends nothing");
                    if std::mem::take(&mut self.fail) {
                        self.session.failed(self.now);
                    } else {
                        self.session.sent(self.now);
                    }
                }
                Action::Wait(until) => {
                    assert!(until < Timestamp::FAR, "it waits for ever");
                    self.wake = until;
                    break;
                }
                Action::End => {
                    self.ended = true;
                    break;
                }
            }
            while self.session.note().is_some() {}
        }
        while self.session.note().is_some() {}
    }

    fn give(&mut self, datagram: &[u8]) -> bool {
        self.now = self.now + Duration::from_millis(1);
        let taken = self.session.received(datagram, self.now).is_ok();
        self.poll();
        taken
    }

    fn wait(&mut self) {
        self.now = self.now.max(self.wake) + Duration::from_millis(1);
        self.poll();
    }
}

/// The datagram that the fields stand for, and what is in it.
fn sealed<'a>(responder: &Responder, bytes: &'a [u8], whole: bool) -> Option<(Vec<u8>, &'a [u8])> {
    let (&[exchange, flags, id, first, number, total], chain) = bytes.split_first_chunk::<6>()?;
    let header = Header {
        initiator: responder.initiator,
        responder: responder.responder,
        next: first,
        version: Version::V2,
        exchange: ExchangeType(exchange),
        flags,
        message_id: id.into(),
        length: 0,
    };
    let (number, total) = if whole { (1, 1) } else { (number.into(), total.into()) };
    let fragment = Fragment { header, number, total, first: PayloadType(first), data: chain.to_vec() };
    let iv = [id; 8];
    if whole && let Ok(message) = fragment.assemble(chain) {
        return Some((marked(&responder.seals.seal(&message, &iv)), chain));
    }
    Some((marked(&responder.seals.seal_fragment(&fragment, &iv)), chain))
}

/// A session.
pub fn session(bytes: &[u8]) {
    let Some((&stage, mut rest)) = bytes.split_first() else { return };
    let responder = responder();
    let mut run = Run { session: responder::session(), now: BEGIN, wake: BEGIN, ended: false, fail: false };
    run.poll();
    let stage = stage % 3;
    if stage >= 1 {
        assert!(run.give(&responder.init), "a good answer to IKE_SA_INIT");
    }
    if stage >= 2 {
        assert!(run.give(&responder.auth), "a good answer to IKE_AUTH");
        assert!(run.session.up(), "the peer has proved itself");
    }
    for _ in 0..MOST {
        let Some((Frame { what, bytes: frame, .. }, after)) = Frame::read(rest, false) else { break };
        rest = after;
        match what % 8 {
            0 => drop(run.give(&marked(frame))),
            1 | 2 => {
                if let Some((datagram, inner)) = sealed(responder, frame, what % 8 == 1)
                    && run.give(&datagram)
                {
                    canary(inner, 16, 6);
                }
            }
            3 => {
                // The unprotected ids of this SA, and something behind them.
                let ids = [responder.initiator.0, responder.responder.0].concat();
                run.give(&marked(&[&ids, frame].concat()));
            }
            4 => drop(run.give(frame)),
            5 => run.wait(),
            6 => run.fail = true,
            _ => {
                run.session.stop();
                run.poll();
            }
        }
        assert!(stage == 2 || !run.session.up(), "up, and nobody has proved anything");
        if run.ended {
            return;
        }
    }
    run.session.stop();
    run.poll();
    for _ in 0..64 {
        if run.ended {
            return;
        }
        run.wait();
    }
    panic!("it was told to stop, and does not end");
}
