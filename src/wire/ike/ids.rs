//! Code points of `IKEv2` as newtypes: known ones have a name, unknown ones survive as numbers.
//!
//! Sources: RFC 7296 §3.1 to §3.10, the IANA registry "Internet Key Exchange Version 2 (`IKEv2`)
//! Parameters", RFC 7383 (SKF), RFC 5685 (redirect), RFC 6023 (childless).

/// Declares a code point: a number, the RFC's names as constants, and a spelling for people.
macro_rules! codes {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident($int:ty) { $($konst:ident = $value:literal $word:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        $vis struct $name(pub $int);

        impl $name {
            $(
                #[doc = concat!("`", $word, "`, ", $value, ".")]
                pub const $konst: Self = Self($value);
            )+

            /// The spelling for people, if the number is a known one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($word),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )+};
}
pub(crate) use codes;

codes! {
    /// Exchange type of the header (RFC 7296 §3.1; below 34: RFC 2408 §3.1 and RFC 2409).
    pub struct ExchangeType(u8) {
        ID_PROT = 2 "main_mode",
        AGGRESSIVE = 4 "aggressive_mode",
        INFORMATIONAL_V1 = 5 "informational_v1",
        TRANSACTION = 6 "transaction",
        QUICK_MODE = 32 "quick_mode",
        IKE_SA_INIT = 34 "ike_sa_init",
        IKE_AUTH = 35 "ike_auth",
        CREATE_CHILD_SA = 36 "create_child_sa",
        INFORMATIONAL = 37 "informational",
    }

    /// Payload type of `IKEv2` (RFC 7296 §3.2; SKF: RFC 7383 §2.5).
    pub struct PayloadType(u8) {
        NONE = 0 "none",
        SA = 33 "sa",
        KE = 34 "ke",
        ID_I = 35 "idi",
        ID_R = 36 "idr",
        CERT = 37 "cert",
        CERTREQ = 38 "certreq",
        AUTH = 39 "auth",
        NONCE = 40 "nonce",
        NOTIFY = 41 "notify",
        DELETE = 42 "delete",
        VENDOR_ID = 43 "vendor_id",
        TS_I = 44 "tsi",
        TS_R = 45 "tsr",
        SK = 46 "sk",
        CP = 47 "cp",
        EAP = 48 "eap",
        SKF = 53 "skf",
    }

    /// Security protocol of a proposal or notification (RFC 7296 §3.3.1).
    pub struct ProtocolId(u8) {
        NONE = 0 "none",
        IKE = 1 "ike",
        AH = 2 "ah",
        ESP = 3 "esp",
    }

    /// Transform type of a proposal (RFC 7296 §3.3.2).
    pub struct TransformType(u8) {
        ENCR = 1 "encr",
        PRF = 2 "prf",
        INTEG = 3 "integ",
        DH = 4 "dh",
        ESN = 5 "esn",
    }

    /// Encryption algorithm (transform type 1).
    pub struct Encr(u16) {
        DES = 2 "des",
        TRIPLE_DES = 3 "3des",
        AES_CBC = 12 "aes_cbc",
        AES_CTR = 13 "aes_ctr",
        AES_GCM_8 = 18 "aes_gcm_8",
        AES_GCM_12 = 19 "aes_gcm_12",
        AES_GCM_16 = 20 "aes_gcm_16",
        CHACHA20_POLY1305 = 28 "chacha20poly1305",
        DECOY = 65280 "private_use",
    }

    /// Pseudorandom function (transform type 2).
    pub struct Prf(u16) {
        HMAC_MD5 = 1 "prfmd5",
        HMAC_SHA1 = 2 "prfsha1",
        HMAC_SHA2_256 = 5 "prfsha256",
        HMAC_SHA2_384 = 6 "prfsha384",
        HMAC_SHA2_512 = 7 "prfsha512",
    }

    /// Integrity algorithm (transform type 3).
    pub struct Integ(u16) {
        HMAC_MD5_96 = 1 "md5",
        HMAC_SHA1_96 = 2 "sha1",
        HMAC_SHA2_256_128 = 12 "sha256",
        HMAC_SHA2_384_192 = 13 "sha384",
        HMAC_SHA2_512_256 = 14 "sha512",
    }

    /// Diffie-Hellman group (transform type 4; the same numbers in `IKEv1`).
    pub struct Group(u16) {
        MODP_768 = 1 "modp768",
        MODP_1024 = 2 "modp1024",
        MODP_1536 = 5 "modp1536",
        MODP_2048 = 14 "modp2048",
        MODP_3072 = 15 "modp3072",
        MODP_4096 = 16 "modp4096",
        MODP_6144 = 17 "modp6144",
        MODP_8192 = 18 "modp8192",
        ECP_256 = 19 "ecp256",
        ECP_384 = 20 "ecp384",
        ECP_521 = 21 "ecp521",
        X25519 = 31 "x25519",
        X448 = 32 "x448",
    }

    /// Notify message type of `IKEv2` (RFC 7296 §3.10.1): errors below 16384, status from there on.
    pub struct NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1 "unsupported_critical_payload",
        INVALID_IKE_SPI = 4 "invalid_ike_spi",
        INVALID_MAJOR_VERSION = 5 "invalid_major_version",
        INVALID_SYNTAX = 7 "invalid_syntax",
        INVALID_MESSAGE_ID = 9 "invalid_message_id",
        INVALID_SPI = 11 "invalid_spi",
        NO_PROPOSAL_CHOSEN = 14 "no_proposal_chosen",
        INVALID_KE_PAYLOAD = 17 "invalid_ke_payload",
        AUTHENTICATION_FAILED = 24 "authentication_failed",
        NO_ADDITIONAL_SAS = 35 "no_additional_sas",
        TS_UNACCEPTABLE = 38 "ts_unacceptable",
        TEMPORARY_FAILURE = 43 "temporary_failure",
        INITIAL_CONTACT = 16384 "initial_contact",
        NAT_DETECTION_SOURCE_IP = 16388 "nat_detection_source_ip",
        NAT_DETECTION_DESTINATION_IP = 16389 "nat_detection_destination_ip",
        COOKIE = 16390 "cookie",
        MOBIKE_SUPPORTED = 16396 "mobike_supported",
        AUTH_LIFETIME = 16403 "auth_lifetime",
        MULTIPLE_AUTH_SUPPORTED = 16404 "multiple_auth_supported",
        REDIRECT_SUPPORTED = 16406 "redirect_supported",
        REDIRECT = 16407 "redirect",
        CHILDLESS_IKEV2_SUPPORTED = 16418 "childless_ikev2_supported",
        IKEV2_FRAGMENTATION_SUPPORTED = 16430 "ikev2_fragmentation_supported",
        SIGNATURE_HASH_ALGORITHMS = 16431 "signature_hash_algorithms",
    }
}

impl NotifyType {
    /// Whether it tells of an error (RFC 7296 §3.10.1: below 16384).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

impl Group {
    /// Length of a public value in a KE payload, in bytes (RFC 7296 §3.4, RFC 5903 §7, RFC 8031 §2);
    /// nothing for a group this program does not know.
    #[must_use]
    pub const fn public_len(self) -> Option<usize> {
        Some(match self {
            Self::MODP_1024 => 128,
            Self::MODP_1536 => 192,
            Self::MODP_2048 => 256,
            Self::MODP_3072 => 384,
            Self::MODP_4096 => 512,
            Self::MODP_6144 => 768,
            Self::MODP_8192 => 1024,
            Self::ECP_256 => 64,
            Self::MODP_768 | Self::ECP_384 => 96,
            Self::ECP_521 => 132,
            Self::X25519 => 32,
            Self::X448 => 56,
            _ => return None,
        })
    }
}

/// Bits of the header's flags byte (RFC 7296 §3.1; E: RFC 2408 §3.1).
pub mod flags {
    /// E(ncryption), `IKEv1` only: the payloads after the header are encrypted.
    pub const ENCRYPTION: u8 = 0x01;
    /// I(nitiator): sent by the original initiator of the IKE SA.
    pub const INITIATOR: u8 = 0x08;
    /// V(ersion): the sender could speak a higher major version.
    pub const VERSION: u8 = 0x10;
    /// R(esponse): this is an answer.
    pub const RESPONSE: u8 = 0x20;
}
