//! The file of `--web.config.file`: who may ask over HTTP, and under which certificate.
//!
//! It is the file of Prometheus' exporter-toolkit, key for key as `promtool check web-config` 2.42 knows
//! it: <https://prometheus.io/docs/prometheus/latest/configuration/https/>. Invariant: this module says
//! what stands in the file and whether it may; whether key and certificate are good is for the one who
//! loads them. A secret of it is never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::yaml::plain;

/// The file, read and judged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebFile {
    /// TLS; nothing for plain HTTP.
    pub tls: Option<WebTls>,
    /// Headers that every answer gets.
    pub headers: BTreeMap<String, String>,
    /// Names, and bcrypt hashes of their passwords.
    pub users: BTreeMap<String, String>,
    /// What is taken but does less than its writer may think.
    pub warnings: Vec<String>,
}

impl fmt::Debug for WebFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebFile")
            .field("tls", &self.tls)
            .field("headers", &self.headers)
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTls {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// What is asked of clients.
    pub client: ClientAuth,
    /// Who may sign their certificates, PEM; nothing for the roots of the system.
    pub client_ca: Option<PathBuf>,
    /// Suites of TLS 1.2 by name, those of 1.3 among them without effect; empty for all.
    pub suites: Vec<String>,
    /// Curves by name; empty for all.
    pub curves: Vec<String>,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// Whether the order of the suites here counts, and not the client's.
    pub own_order: bool,
}

/// What is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// A certificate, and none will do as well; it is not verified.
    Request,
    /// Any certificate; it is not verified.
    RequireAny,
    /// A certificate, and none will do as well; one that is given is verified.
    VerifyIfGiven,
    /// A certificate that verifies.
    RequireAndVerify,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Raw {
    tls_server_config: Option<RawTls>,
    http_server_config: Option<RawHttp>,
    basic_auth_users: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawTls {
    cert_file: Option<String>,
    key_file: Option<String>,
    client_auth_type: Option<String>,
    client_ca_file: Option<String>,
    cipher_suites: Option<Vec<Option<String>>>,
    curve_preferences: Option<Vec<Option<String>>>,
    min_version: Option<String>,
    max_version: Option<String>,
    prefer_server_cipher_suites: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, Option<String>>>,
}

/// Headers that may be set, and their values where those are a closed set.
const HEADERS: &[(&str, &[&str])] = &[
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The suites that the toolkit knows by name.
const SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

const CURVES: &[&str] = &["CurveP256", "CurveP384", "CurveP521", "X25519"];
const VERSIONS: &[&str] = &["TLS10", "TLS11", "TLS12", "TLS13"];

/// A hash of this cost takes most of a minute, in which nobody else is let in anew.
const SLOW_COST: u8 = 16;
/// The shortest text that can be a bcrypt hash, in bytes.
const SHORTEST: usize = 59;

impl WebFile {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, with its path and, where it is known, line and column.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
            .map_err(|problem| format!("{}{problem}", path.display()))
    }

    /// Reads a text whose relative paths begin at `directory`. An error begins with `:line:column: ` or `: `.
    ///
    /// # Errors
    /// As [`Self::read`], without the path.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let raw = match serde_saphyr::from_str::<Option<Raw>>(text) {
            Ok(raw) => raw.unwrap_or_default(),
            Err(error) => {
                let place =
                    error.location().map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
                return Err(format!("{place}: {}", plain(&error.without_snippet().render())));
            }
        };
        let mut file = Self::default();
        let http = raw.http_server_config.unwrap_or_default();
        for (name, value) in http.headers.unwrap_or_default() {
            let value = value.unwrap_or_default();
            let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
                let known: Vec<_> = HEADERS.iter().map(|(known, _)| *known).collect();
                return Err(format!(
                    ": http_server_config.headers: {name} cannot be set; only {}",
                    known.join(", ")
                ));
            };
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                return Err(format!(
                    ": http_server_config.headers.{name}: {value:?} is none of {}",
                    allowed.join(", ")
                ));
            }
            file.headers.insert(name, value);
        }
        for (name, hash) in raw.basic_auth_users.unwrap_or_default() {
            let hash = hash.unwrap_or_default();
            let shown = shown(&name);
            let cost = cost(&hash).map_err(|rule| {
                format!(
                    ": basic_auth_users.{shown}: {rule}; make a bcrypt hash with: htpasswd -nBC 10 {shown}"
                )
            })?;
            if cost >= SLOW_COST {
                file.warnings
                    .push(format!("basic_auth_users.{shown}: cost {cost} makes each first login slow"));
            }
            file.users.insert(name, hash);
        }
        file.tls = tls(raw.tls_server_config.unwrap_or_default(), directory, &mut file.warnings)?;
        if file.tls.is_none() && !file.users.is_empty() {
            file.warnings
                .push("passwords go over the network in the clear: there is no tls_server_config".to_owned());
        }
        Ok(file)
    }

    /// Whether only those who show a password or a certificate are answered, and nobody on the way can
    /// read it.
    #[must_use]
    pub fn protects(&self) -> bool {
        let verified = |tls: &WebTls| tls.client == ClientAuth::RequireAndVerify;
        self.tls.as_ref().is_some_and(|tls| !self.users.is_empty() || verified(tls))
    }

    /// Every file that this one names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let tls = self.tls.iter();
        tls.flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()])
            .flatten()
            .map(PathBuf::as_path)
    }
}

fn tls(raw: RawTls, directory: &Path, warnings: &mut Vec<String>) -> Result<Option<WebTls>, String> {
    let file =
        |written: Option<String>| written.filter(|path| !path.is_empty()).map(|path| directory.join(path));
    let wrong = |key: &str, rule: &str| Err(format!(": tls_server_config.{key}: {rule}"));
    let words = |key: &str, written: Option<Vec<Option<String>>>, known: &[&str]| {
        let written: Vec<String> =
            written.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect();
        match written.iter().find(|word| !known.contains(&word.as_str())) {
            Some(word) => Err(format!(": tls_server_config.{key}: {word:?} is none of {}", known.join(", "))),
            None => Ok(written),
        }
    };
    // These are judged also where TLS is not used.
    let suites = words("cipher_suites", raw.cipher_suites, SUITES)?;
    let curves = words("curve_preferences", raw.curve_preferences, CURVES)?;
    let version = |key: &str, written: Option<String>, otherwise: usize| match written {
        None => Ok(otherwise),
        Some(word) => VERSIONS
            .iter()
            .position(|known| *known == word)
            .ok_or_else(|| format!(": tls_server_config.{key}: {word:?} is none of {}", VERSIONS.join(", "))),
    };
    let least = version("min_version", raw.min_version, 2)?;
    let most = version("max_version", raw.max_version, 3)?;

    let (certificate, key, client_ca) = (file(raw.cert_file), file(raw.key_file), file(raw.client_ca_file));
    let client = raw.client_auth_type.unwrap_or_default();
    if certificate.is_none() && key.is_none() && client_ca.is_none() && client.is_empty() {
        return Ok(None);
    }
    let Some(certificate) = certificate else { return wrong("cert_file", "is missing") };
    let Some(key) = key else { return wrong("key_file", "is missing") };
    let client = match client.as_str() {
        "" | "NoClientCert" => ClientAuth::None,
        "RequestClientCert" => ClientAuth::Request,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        _ => {
            return wrong(
                "client_auth_type",
                "is none of NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, \
                 RequireAndVerifyClientCert",
            );
        }
    };
    if client_ca.is_some() && client == ClientAuth::None {
        return wrong("client_ca_file", "has no effect without a client_auth_type");
    }
    if least < 2 {
        warnings.push("tls_server_config.min_version: TLS 1.2 is the least that is spoken".to_owned());
    }
    if most < 2 || most < least {
        return wrong("max_version", "leaves no version: TLS 1.2 and 1.3 are spoken");
    }
    Ok(Some(WebTls {
        certificate,
        key,
        client,
        client_ca,
        suites,
        curves,
        tls12: least <= 2,
        tls13: most >= 3,
        own_order: raw.prefer_server_cipher_suites.unwrap_or(true),
    }))
}

/// A name for people to read. Where a colon or a quote is amiss the name has the hash in it: no name then.
fn shown(name: &str) -> &str {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if !name.is_empty() && name.chars().all(plain) && name.len() < SHORTEST { name } else { "NAME" }
}

/// The cost of a bcrypt hash, judged as the toolkit does: by length, prefix and cost.
fn cost(hash: &str) -> Result<u8, &'static str> {
    let bytes = hash.as_bytes();
    if bytes.len() < SHORTEST {
        return Err("is too short for a bcrypt hash");
    }
    if bytes.first() != Some(&b'$') {
        return Err("is no bcrypt hash: it does not begin with $");
    }
    if bytes.get(1).is_none_or(|major| *major > b'2') {
        return Err("is of a later version than bcrypt's 2");
    }
    let from = if bytes.get(2) == Some(&b'$') { 3 } else { 4 };
    let cost = hash.get(from..from + 2).and_then(|digits| digits.parse().ok());
    cost.filter(|cost| (4..=31).contains(cost)).ok_or("has no cost from 4 to 31")
}
