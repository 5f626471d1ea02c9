//! What is told to people: every sentence is a row of a table, one column a language.
//!
//! Invariant: a sentence claims no more than the rule that chose it has seen; what cannot be told apart
//! from outside is named as such. `{slots}` are filled from the survey.

use crate::sample::{Fault, Reason};
use crate::words;

pub use super::notes::Note;

words! {
    /// A language.
    pub enum Lang {
        /// English.
        En = "en",
        /// Japanese.
        Ja = "ja",
    }
}

/// What fills a `{slot}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// The same in all languages: addresses, ports, remote text.
    Plain(String),
    /// A fault of ours.
    Fault(Fault),
    /// A reason.
    Reason(Reason),
}

/// One sentence or a few: which, and what fills its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which row of the table.
    pub note: Note,
    pub(super) slots: Vec<(&'static str, Slot)>,
}

impl Said {
    /// The row, with no slot filled yet.
    #[must_use]
    pub const fn new(note: Note) -> Self {
        Self { note, slots: Vec::new() }
    }

    /// Fills a slot with words.
    #[must_use]
    pub fn with(mut self, slot: &'static str, value: impl Into<String>) -> Self {
        self.slots.push((slot, Slot::Plain(value.into())));
        self
    }

    /// Fills `{fault}`.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.slots.push(("fault", Slot::Fault(fault)));
        self
    }

    /// Fills `{reason}`.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        self.slots.push(("reason", Slot::Reason(reason)));
        self
    }

    /// The text. The filling is never read for slots again.
    #[must_use]
    pub fn text(&self, lang: Lang) -> String {
        let mut text = String::new();
        let mut rest = self.note.template(lang);
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let Some((name, tail)) = after.split_once('}') else { break };
            match self.slots.iter().find(|(slot, _)| *slot == name) {
                Some((_, Slot::Plain(value))) => text.push_str(value),
                Some((_, Slot::Fault(fault))) => text.push_str(fault_text(*fault, lang)),
                Some((_, Slot::Reason(reason))) => text.push_str(reason_text(*reason, lang)),
                None => text.push('?'),
            }
            rest = tail;
        }
        text.push_str(rest);
        text
    }
}

/// A fault of ours in a few words.
#[must_use]
pub const fn fault_text(fault: Fault, lang: Lang) -> &'static str {
    let (en, ja) = match fault {
        Fault::Budget => ("held back to spare the concentrator", "装置への負荷を抑えるため送信を見合わせた"),
        Fault::Unresolved => ("the name has no address yet", "名前解決がまだできていない"),
        Fault::Permission => ("this program lacks the right to send it", "送信する権限がない"),
        Fault::LocalFirewall => {
            ("a firewall on this host refused the packet", "このホスト自身のファイアウォールが送信を拒否した")
        }
        Fault::NoRoute => (
            "this host has no route there, or no address of that family",
            "このホストに経路またはアドレスがない",
        ),
        Fault::Egress => (
            "the egress does not exist or has no address",
            "指定した出口インターフェースがない、またはアドレスがない",
        ),
        Fault::Resource => {
            ("this host ran out of sockets, ports or memory", "ソケット・ポート・メモリが不足した")
        }
        Fault::LocalMtu => {
            ("the packet is too large for the local interface", "パケットがローカルの MTU を超えた")
        }
        Fault::ReceiveOverflow => ("the receive buffer overflowed", "受信バッファがあふれた"),
        Fault::Stalled => ("this program was stopped meanwhile", "その間このプログラムが停止していた"),
        Fault::FormUnproven => (
            "this peer has never answered this form of the probe",
            "この形式の問い合わせに応答した実績がない",
        ),
        Fault::ExpectedSilence => ("silence is the healthy state there", "無応答が正常な状態である"),
        Fault::Cancelled => ("the probe was cancelled", "測定が取り消された"),
        Fault::Internal => ("a defect of this program; see its log", "本プログラムの不具合(ログを参照)"),
    };
    match lang {
        Lang::En => en,
        Lang::Ja => ja,
    }
}

/// A reason in a few words.
#[must_use]
pub const fn reason_text(reason: Reason, lang: Lang) -> &'static str {
    let (en, ja) = match reason {
        Reason::NoAnswer => ("no answer", "無応答"),
        Reason::PortUnreachable => ("port unreachable", "ポート到達不能"),
        Reason::HostUnreachable => ("host unreachable", "ホスト到達不能"),
        Reason::NetUnreachable => ("network unreachable", "ネットワーク到達不能"),
        Reason::AdminProhibited => ("refused by a filter", "フィルタによる拒否"),
        Reason::ConnectionRefused => ("connection refused", "接続拒否"),
        Reason::ConnectionReset => ("connection reset", "接続リセット"),
        Reason::NoProposalChosen => ("no proposal chosen", "提案不一致(NO_PROPOSAL_CHOSEN)"),
        Reason::InvalidSyntax => ("message called malformed", "メッセージ形式エラーの応答"),
        Reason::AuthFailed => ("authentication failed", "認証失敗"),
        Reason::CertExpired => ("the certificate has expired", "証明書の期限切れ"),
        Reason::CertNotYetValid => ("the certificate is not valid yet", "証明書がまだ有効期間前"),
        Reason::CertNameMismatch => ("the certificate is for another name", "証明書の名前の不一致"),
        Reason::CertUntrusted => {
            ("the certificate is not from a trusted issuer", "信頼されていない発行元の証明書")
        }
        Reason::TlsAlert => ("a TLS alert", "TLS アラート"),
        Reason::TlsLegacy => ("only an old TLS", "古い TLS のみ"),
        Reason::HttpStatus => ("an unexpected HTTP status", "想定外の HTTP ステータス"),
        Reason::WrongAnswer => ("an unexpected answer", "想定外の応答"),
        Reason::WrongFlavour => ("another kind of service", "別種のサービス"),
        Reason::Nxdomain => ("the name does not exist", "名前が存在しない"),
        Reason::Nodata => ("the name has no address", "名前にアドレスがない"),
        Reason::Servfail => ("the resolver failed", "DNS サーバーの障害"),
        Reason::DnsRefused => ("the resolver refuses to answer", "DNS サーバーが応答を拒否"),
        Reason::FullOrThrottled => ("full, or throttling", "満杯または流量制限"),
        Reason::ProtocolError => ("the peer broke the protocol", "プロトコル違反の応答"),
        Reason::KeyRequired => ("a pre-shared key is required", "事前共有鍵が必要"),
    };
    match lang {
        Lang::En => en,
        Lang::Ja => ja,
    }
}
