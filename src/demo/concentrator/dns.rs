//! An authoritative name server for one small zone.
//!
//! ```text
//! www A, AAAA · ns A · (apex) SOA, NS, TXT, A · large TXT (more than fits a datagram)
//! ```
//!
//! Invariant: a message whose counts its bytes cannot hold is not read at all.
//! Sources: RFC 1034 §4.3.2, RFC 1035 §4, RFC 2308 §3, RFC 6891 §6.2.3, RFC 7766 §8.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::certificate::NAME;
use super::{Call, Responder};

/// What we can receive, and send at the most, over UDP: never fragmented.
const UDP_PAYLOAD: u16 = 1232;
/// What fits a datagram without EDNS.
const PLAIN_PAYLOAD: u16 = 512;
const HEADER: usize = 12;
const TTL: u32 = 60;

/// The zone.
#[derive(Clone)]
pub(super) struct Zone {
    apex: Name,
    records: Vec<Record>,
}

impl Zone {
    pub(super) fn new() -> Self {
        let mut apex = Name::from_ascii(NAME).unwrap_or_default();
        apex.set_fqdn(true);
        let below = |label: &str| Name::from_ascii(label).and_then(|label| label.append_name(&apex));
        let mut records = Vec::new();
        let mut add = |name: &Name, data| records.push(Record::from_rdata(name.clone(), TTL, data));
        if let (Ok(www), Ok(ns), Ok(large), Ok(mail)) =
            (below("www"), below("ns"), below("large"), below("hostmaster"))
        {
            add(&apex, RData::SOA(SOA::new(ns.clone(), mail, 1, 3600, 600, 86400, TTL)));
            add(&apex, RData::NS(NS(ns.clone())));
            add(&apex, RData::TXT(TXT::new(vec!["vpnprobe demo".to_owned()])));
            add(&apex, RData::A(A(Ipv4Addr::new(192, 0, 2, 10))));
            add(&www, RData::A(A(Ipv4Addr::new(192, 0, 2, 80))));
            add(&www, RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80))));
            add(&ns, RData::A(A(Ipv4Addr::new(192, 0, 2, 53))));
            add(&large, RData::TXT(TXT::new(vec!["x".repeat(250); 8])));
        }
        Self { apex, records }
    }

    /// The answer to a message, if it is a query; over UDP not longer than the client can take.
    pub(super) fn answer(&self, bytes: &[u8], udp: bool) -> Option<Vec<u8>> {
        let [id0, id1, flags, _, counts @ ..] = bytes.first_chunk::<HEADER>()?;
        if flags & 0x80 != 0 {
            return None;
        }
        let id = u16::from_be_bytes([*id0, *id1]);
        // One question, and at most an OPT and a signature behind it.
        let readable = matches!(counts, [0, 1, 0, 0, 0, 0, 0, 0..=2]);
        let Some(query) = readable.then(|| Message::from_vec(bytes).ok()).flatten() else {
            return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
        };
        let mut answer = Message::new(id, MessageType::Response, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.add_queries(query.queries.iter().cloned());
        answer.metadata.response_code = self.fill(&query, &mut answer);
        let limit = match &query.edns {
            Some(edns) => {
                let mut ours = Edns::new();
                ours.set_max_payload(UDP_PAYLOAD).set_version(0);
                answer.set_edns(ours);
                edns.max_payload().clamp(PLAIN_PAYLOAD, UDP_PAYLOAD)
            }
            None => PLAIN_PAYLOAD,
        };
        let bytes = answer.to_vec().ok()?;
        if udp && bytes.len() > usize::from(limit) {
            return answer.truncate().to_vec().ok();
        }
        Some(bytes)
    }

    fn fill(&self, query: &Message, answer: &mut Message) -> ResponseCode {
        let Some(question) = query.queries.first().filter(|_| query.metadata.op_code == OpCode::Query) else {
            return ResponseCode::NotImp;
        };
        if question.query_class() != DNSClass::IN || !self.apex.zone_of(question.name()) {
            return ResponseCode::Refused;
        }
        answer.metadata.authoritative = true;
        let here = || self.records.iter().filter(|record| record.name == *question.name());
        let wanted = |record: &&Record| {
            question.query_type() == RecordType::ANY || record.record_type() == question.query_type()
        };
        answer.add_answers(here().filter(wanted).cloned());
        if answer.answers.is_empty() {
            // How long "no" may be remembered is in the SOA (RFC 2308 §3).
            answer.add_authorities(self.records.first().cloned());
        }
        if here().next().is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain }
    }
}

impl Responder for Zone {
    fn answer(&mut self, datagram: &[u8], _: &mut Call<'_>) -> Vec<Vec<u8>> {
        Zone::answer(self, datagram, true).into_iter().collect()
    }
}
