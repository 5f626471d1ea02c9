//! An IKE SA with its keys: sealing, opening, message ids, fragments.
//!
//! Invariants: message ids of the two directions count apart, each with a window of one (RFC 7296
//! §2.2, §2.3). A set of fragments has at most [`Parts::MOST`] parts and [`Parts::LARGEST`] bytes.

use std::collections::BTreeMap;

use crate::entropy::{Draw, Entropy};
use crate::wire::Error;
use crate::wire::ike::{
    ExchangeType, Fragment, Header, Message, Opened, Payload, Protection, Spi, Version, flags,
};

/// A keyed IKE SA of which we are the initiator.
#[derive(Debug)]
pub(super) struct Sa {
    initiator: Spi,
    responder: Spi,
    ours: Protection,
    theirs: Protection,
    ivs: u64,
    /// The id of our next request.
    next: u32,
    /// The id of the peer's next request.
    expected: u32,
    /// Our answer to the peer's last request, to be repeated if that is.
    answered: Option<Vec<u8>>,
    parts: Parts,
}

/// Where a message of the peer has its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The answer to our request with this id.
    Answer(u32),
    /// A new request.
    Request,
    /// The last request once more.
    Again,
    /// Neither: too old, too new, or of another SA.
    Nowhere,
}

impl Sa {
    pub(super) const fn new(initiator: Spi, responder: Spi, ours: Protection, theirs: Protection) -> Self {
        Self {
            initiator,
            responder,
            ours,
            theirs,
            ivs: 0,
            next: 1, // 0 was IKE_SA_INIT
            expected: 0,
            answered: None,
            parts: Parts { header: None, total: 0, first: None, data: BTreeMap::new() },
        }
    }

    /// Where the message of that header belongs, by its header alone.
    pub(super) fn place(&self, header: &Header) -> Place {
        let ours = header.initiator == self.initiator
            && header.responder == self.responder
            && header.version == Version::V2
            && header.flags & flags::INITIATOR == 0;
        if !ours {
            Place::Nowhere
        } else if header.flags & flags::RESPONSE != 0 {
            Place::Answer(header.message_id)
        } else if header.message_id == self.expected {
            Place::Request
        } else if header.message_id.checked_add(1) == Some(self.expected) {
            Place::Again
        } else {
            Place::Nowhere
        }
    }

    /// A new request and its id.
    pub(super) fn request(
        &mut self,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        entropy: &mut dyn Entropy,
    ) -> (u32, Vec<u8>) {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        (id, self.seal(exchange, flags::INITIATOR, id, payloads, entropy))
    }

    /// The answer to a new request of the peer.
    pub(super) fn answer(
        &mut self,
        request: &Message,
        payloads: Vec<Payload>,
        entropy: &mut dyn Entropy,
    ) -> Vec<u8> {
        let flags = flags::INITIATOR | flags::RESPONSE;
        let bytes = self.seal(request.exchange, flags, request.message_id, payloads, entropy);
        self.expected = request.message_id.saturating_add(1);
        self.answered = Some(bytes.clone());
        bytes
    }

    /// The answer to the peer's last request, for when that comes again.
    pub(super) fn answered(&self) -> Option<Vec<u8>> {
        self.answered.clone()
    }

    fn seal(
        &mut self,
        exchange: ExchangeType,
        flags: u8,
        message_id: u32,
        payloads: Vec<Payload>,
        entropy: &mut dyn Entropy,
    ) -> Vec<u8> {
        let iv = if self.ours.counts() {
            self.ivs += 1;
            self.ivs.to_be_bytes().to_vec()
        } else {
            entropy.bytes(self.ours.iv_len())
        };
        let message = Message {
            initiator: self.initiator,
            responder: self.responder,
            version: Version::V2,
            exchange,
            flags,
            message_id,
            payloads,
        };
        self.ours.seal(&message, &iv)
    }

    /// Opens a message of the peer; nothing while parts of it are missing.
    ///
    /// # Errors
    /// It was not made with our keys, or its form is wrong.
    pub(super) fn open(&mut self, bytes: &[u8]) -> Result<Option<Message>, Error> {
        match self.theirs.open(bytes)? {
            Opened::Whole(message) => Ok(Some(message)),
            Opened::Fragment(fragment) => self.parts.add(fragment),
        }
    }
}

/// The parts of a message that have come so far (RFC 7383 §2.6).
#[derive(Debug)]
struct Parts {
    header: Option<Header>,
    total: u16,
    first: Option<Fragment>,
    data: BTreeMap<u16, Vec<u8>>,
}

impl Parts {
    const MOST: u16 = 16;
    const LARGEST: usize = 64 << 10;

    fn add(&mut self, fragment: Fragment) -> Result<Option<Message>, Error> {
        let about = |header: &Header| (header.exchange, header.flags, header.message_id);
        let same = self.header.as_ref().is_some_and(|known| about(known) == about(&fragment.header));
        if fragment.total > Self::MOST || same && fragment.total < self.total {
            return Ok(None);
        }
        if !same || fragment.total > self.total {
            *self = Self {
                header: Some(fragment.header),
                total: fragment.total,
                first: None,
                data: BTreeMap::new(),
            };
        }
        let held: usize = self.data.values().map(Vec::len).sum();
        if held + fragment.data.len() > Self::LARGEST {
            return Ok(None);
        }
        self.data.entry(fragment.number).or_insert_with(|| fragment.data.clone());
        if fragment.number == 1 {
            self.first = Some(fragment);
        }
        match &self.first {
            Some(first) if self.data.len() == usize::from(self.total) => {
                let bytes: Vec<u8> = self.data.values().flatten().copied().collect();
                let whole = first.assemble(&bytes);
                self.header = None;
                whole.map(Some)
            }
            _ => Ok(None),
        }
    }
}
