//! Real handshakes in memory against rustls's server, with certificates made for the purpose.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;
use crate::sample::Detail;

/// 2026-11-22T00:00:00Z.
pub(crate) const NOW: WallTime = WallTime::from_unix_secs(1_795_305_600);
pub(crate) const NAME: &str = "vpn.example.test";

type Date = (i32, u8, u8);

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, from: Date, until: Date) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params
}

impl Authority {
    fn params(name: &str, until: Date) -> CertificateParams {
        let mut params = params(name, (2020, 1, 1), until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    pub(crate) fn root() -> Self {
        let (params, key) = (Self::params("Root", (2040, 1, 1)), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { pem, der, issuer: Issuer::new(params, key) }
    }

    fn intermediate(&self, name: &str, until: Date) -> Self {
        let (params, key) = (Self::params(name, until), KeyPair::generate().unwrap());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { pem, der, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::Pem(Arc::new(RootStore::from_pem(&self.pem).unwrap()))
    }

    /// A server of that name, 203.0.113.10 and `2001:db8:3::10`.
    pub(crate) fn server(&self, from: Date, until: Date) -> Server {
        let mut params = params(NAME, from, until);
        let names = [NAME, "*.wild.example.test", "203.0.113.10", "2001:db8:3::10"].map(str::to_owned);
        params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Server { chain: vec![certificate.der().clone()], key }
    }
}

/// A chain to serve, and the leaf's key.
pub(crate) struct Server {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Server {
    fn with(mut self, issuers: &[&Authority]) -> Self {
        self.chain.extend(issuers.iter().map(|issuer| issuer.der.clone()));
        self
    }

    pub(crate) fn config(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConfig {
        self.config_with(versions, Arc::new(rustls::server::NoClientAuth))
    }

    pub(crate) fn config_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        clients: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    ) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        ServerConfig::builder_with_details(provider(), Arc::new(FixedTime(NOW)))
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain.clone(), key)
            .unwrap()
    }

    /// The record of a whole handshake with it.
    pub(crate) fn seen(&self) -> Arc<Recorder> {
        let recorder = Recorder::new(NOW);
        let config = client_config(recorder.clone(), NOW, &[]);
        let mut client = ClientConnection::new(config, ServerName::try_from(NAME).unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::new(self.config(rustls::ALL_VERSIONS))).unwrap();
        assert!(recorder.judge(&Roots::None, None, NOW).is_none());
        for _ in 0..4 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        recorder
    }
}

const GOOD: (Date, Date) = ((2026, 1, 1), (2027, 1, 1));

fn judge_of(server: &Server, roots: &Roots, name: Option<&str>) -> Judgement {
    server.seen().judge(roots, name, NOW).unwrap()
}

fn details(judgement: &Judgement) -> Findings {
    let mut findings = Findings::default();
    judgement.note(&mut findings);
    findings
}

#[test]
fn a_good_chain_is_good_and_told() {
    let root = Authority::root();
    let middle = root.intermediate("Middle", (2030, 1, 1));
    let server = middle.server(GOOD.0, GOOD.1).with(&[&middle]);
    let judgement = judge_of(&server, &root.roots(), Some(NAME));
    assert_eq!(judgement.reason, None);
    assert_eq!(judgement.not_after.to_string(), "2027-01-01T00:00:00.000Z");
    let findings = details(&judgement);
    assert_eq!(findings.certificate_not_after, Some(judgement.not_after));
    let json = serde_json::to_value(&findings.details).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "chain_length": 2, "ocsp_stapled": false, "client_certificate_requested": false, "trusted": true,
            "subject": "CN=vpn.example.test", "issuer": "CN=Middle",
            "san": [NAME, "*.wild.example.test", "203.0.113.10", "2001:db8:3::10"],
            "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z",
            "days_left": 40, "self_signed": false,
        })
    );
}

#[test]
fn the_gravest_fault_is_named_first() {
    let (root, other) = (Authority::root(), Authority::root());
    let judged = |from, until, roots: &Authority, name| {
        judge_of(&root.server(from, until), &roots.roots(), Some(name)).reason
    };
    let expired = ((2020, 1, 1), (2026, 11, 21));
    let early = ((2026, 11, 23), (2027, 1, 1));
    assert_eq!(judged(expired.0, expired.1, &root, NAME), Some(Reason::CertExpired));
    assert_eq!(judged(expired.0, expired.1, &other, "x.test"), Some(Reason::CertExpired));
    assert_eq!(judged(early.0, early.1, &other, "x.test"), Some(Reason::CertNotYetValid));
    assert_eq!(judged(GOOD.0, GOOD.1, &other, "x.test"), Some(Reason::CertNameMismatch));
    assert_eq!(judged(GOOD.0, GOOD.1, &other, NAME), Some(Reason::CertUntrusted));
    assert_eq!(judged(GOOD.0, GOOD.1, &root, NAME), None);
}

#[test]
fn names_and_addresses_are_matched_against_their_own_kind() {
    let root = Authority::root();
    let recorder = root.server(GOOD.0, GOOD.1).seen();
    for (name, good) in [
        (Some(NAME), true),
        (Some("VPN.example.test."), true),
        (Some("a.wild.example.test"), true),
        (Some("a.b.wild.example.test"), false),
        (Some("203.0.113.10"), true),
        (Some("2001:db8:3::10"), true),
        (Some("203.0.113.11"), false),
        (Some("not a name"), false),
        (None, true),
    ] {
        let reason = recorder.judge(&root.roots(), name, NOW).unwrap().reason;
        assert_eq!(reason, (!good).then_some(Reason::CertNameMismatch), "{name:?}");
    }
}

#[test]
fn dates_at_the_edges_of_the_formats_are_read() {
    let root = Authority::root();
    // UTCTime ends with 2049, GeneralizedTime begins with 2050; 9999 means "never" (RFC 5280, 4.1.2.5).
    for (until, text, wall) in [
        ((2049, 12, 31), "2049-12-31T00:00:00Z", "2049-12-31T00:00:00.000Z"),
        ((2050, 1, 1), "2050-01-01T00:00:00Z", "2050-01-01T00:00:00.000Z"),
        ((9999, 12, 31), "9999-12-31T00:00:00Z", "2262-04-11T23:47:16.854Z"),
    ] {
        let judgement = judge_of(&root.server((1999, 12, 31), until), &root.roots(), Some(NAME));
        assert_eq!(judgement.reason, None, "{text}");
        assert_eq!(judgement.not_after.to_string(), wall);
        assert_eq!(details(&judgement).details.get_text("not_after"), Some(text));
        assert_eq!(details(&judgement).details.get_text("not_before"), Some("1999-12-31T00:00:00Z"));
    }
}

#[test]
fn the_second_of_expiry_is_still_valid() {
    let root = Authority::root();
    let recorder = root.server(GOOD.0, GOOD.1).seen();
    let last = 1_798_761_600; // date -u -d 2027-01-01 +%s
    let at = |secs| recorder.judge(&root.roots(), None, WallTime::from_unix_secs(secs)).unwrap().reason;
    assert_eq!(at(last), None);
    assert_eq!(at(last + 1), Some(Reason::CertExpired));
}

#[test]
fn days_that_are_left_or_gone_are_whole_ones() {
    let root = Authority::root();
    let recorder = root.server(GOOD.0, GOOD.1).seen();
    let (last, day) = (1_798_761_600, 86_400);
    for (now, days) in [
        (last - day, 1),
        (last - day + 1, 0),
        (last + 1, 0),
        (last + day, -1),
        (last + day + 13, -1),
        (last + 2 * day, -2),
    ] {
        let judgement = recorder.judge(&root.roots(), None, WallTime::from_unix_secs(now)).unwrap();
        assert_eq!(details(&judgement).details.get("days_left"), Some(&Detail::Number(days)), "{now}");
    }
}

#[test]
fn an_intermediate_that_expires_first_is_named() {
    let root = Authority::root();
    let middle = root.intermediate("Middle", (2026, 12, 1));
    let judgement = judge_of(&middle.server(GOOD.0, GOOD.1).with(&[&middle]), &root.roots(), Some(NAME));
    assert_eq!(judgement.reason, None);
    assert_eq!(judgement.not_after.to_string(), "2026-12-01T00:00:00.000Z");
    assert_eq!(details(&judgement).details.get_text("expires_first"), Some("CN=Middle"));

    let middle = root.intermediate("Middle", (2026, 11, 1));
    let judgement = judge_of(&middle.server(GOOD.0, GOOD.1).with(&[&middle]), &root.roots(), Some(NAME));
    assert_eq!(judgement.reason, Some(Reason::CertExpired));
}

#[test]
fn expired_certificates_that_the_path_does_not_use_do_not_count() {
    let (root, old) = (Authority::root(), Authority::root());
    let middle = root.intermediate("Middle", (2030, 1, 1));
    let stray = old.intermediate("Stray", (2021, 1, 1));
    let server = middle.server(GOOD.0, GOOD.1).with(&[&stray, &middle, &root]);
    let judgement = judge_of(&server, &root.roots(), Some(NAME));
    assert_eq!(judgement.reason, None);
    assert_eq!(judgement.not_after.to_string(), "2027-01-01T00:00:00.000Z");
}

#[test]
fn an_expired_cross_signature_above_a_trusted_root_does_not_count() {
    // As in 2021: the chain sent ended at a root that most clients had, signed also by one that expired.
    let (root, old) = (Authority::root(), Authority::root());
    let cross = Authority::params("Root", (2021, 9, 30)).signed_by(root.issuer.key(), &old.issuer).unwrap();
    let middle = root.intermediate("Middle", (2030, 1, 1));
    let mut server = middle.server(GOOD.0, GOOD.1).with(&[&middle]);
    server.chain.push(cross.der().clone());
    let judgement = judge_of(&server, &root.roots(), Some(NAME));
    assert_eq!(judgement.reason, None);
    assert_eq!(judgement.not_after.to_string(), "2027-01-01T00:00:00.000Z");
    // Whoever knows only the old root has a chain that is over.
    assert_eq!(judge_of(&server, &old.roots(), Some(NAME)).reason, Some(Reason::CertExpired));
}

#[test]
fn a_missing_intermediate_is_untrusted() {
    let root = Authority::root();
    let middle = root.intermediate("Middle", (2030, 1, 1));
    let judgement = judge_of(&middle.server(GOOD.0, GOOD.1), &root.roots(), Some(NAME));
    assert_eq!(judgement.reason, Some(Reason::CertUntrusted));
    assert!(!details(&judgement).details.is("trusted"));
}

#[test]
fn without_roots_trust_is_not_judged() {
    let root = Authority::root();
    let judgement = judge_of(&root.server(GOOD.0, GOOD.1), &Roots::None, Some(NAME));
    assert_eq!(judgement.reason, None);
    assert_eq!(details(&judgement).details.get("trusted"), None);
}

#[test]
fn a_self_signed_certificate_is_trusted_only_if_it_is_configured() {
    // An authority's certificate served as the server's own, as appliances do.
    let key = KeyPair::generate().unwrap();
    let mut params = Authority::params("appliance", (2040, 1, 1));
    params.subject_alt_names = CertificateParams::new(vec![NAME.to_owned()]).unwrap().subject_alt_names;
    let certificate = params.self_signed(&key).unwrap();
    let server = Server { chain: vec![certificate.der().clone()], key };
    let judgement = judge_of(&server, &Authority::root().roots(), Some(NAME));
    assert_eq!(judgement.reason, Some(Reason::CertUntrusted));
    assert!(details(&judgement).details.is("self_signed"));
    let pinned = Roots::Pem(Arc::new(RootStore::from_pem(&certificate.pem()).unwrap()));
    assert_eq!(judge_of(&server, &pinned, Some(NAME)).reason, None);
}

#[test]
fn a_chain_that_cannot_be_read_is_untrusted_and_has_no_expiry() {
    let recorder = Recorder::new(NOW);
    let junk = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
    let name = ServerName::try_from(NAME).unwrap();
    recorder.verify_server_cert(&junk, &[], &name, b"ocsp", unix_time(NOW)).unwrap();
    let judgement = recorder.judge(&Roots::None, Some(NAME), NOW).unwrap();
    assert_eq!(judgement.reason, Some(Reason::CertUntrusted));
    let findings = details(&judgement);
    assert_eq!(findings.certificate_not_after, None);
    assert!(findings.details.is("ocsp_stapled"));
}

#[test]
fn roots_are_read_from_pem_and_refused_with_a_reason() {
    let (one, two) = (Authority::root(), Authority::root());
    let both = RootStore::from_pem(&format!("# a comment\n{}\n{}", one.pem, two.pem)).unwrap();
    assert_eq!(both.certificates.len(), 2);
    assert_eq!(one.roots(), one.roots());
    assert_ne!(one.roots(), two.roots());
    assert_eq!(RootStore::from_pem("").unwrap_err(), RootError::Empty);
    let broken = "-----BEGIN CERTIFICATE-----\nMAMBAgM=\n-----END CERTIFICATE-----\n";
    assert!(matches!(RootStore::from_pem(broken), Err(RootError::Unusable(1, _))));
    let cut = one.pem.replace("-----END CERTIFICATE-----", "");
    assert!(RootStore::from_pem(&cut).is_err());
}

#[test]
fn a_key_too_short_for_us_is_known() {
    // openssl req -x509 -newkey rsa:1024 -subj /CN=old
    let pem = "\
-----BEGIN CERTIFICATE-----\n\
MIIB+DCCAWGgAwIBAgIUD5ge+SuwJ7EgWSpCwck6TOXttA4wDQYJKoZIhvcNAQEL\n\
BQAwDjEMMAoGA1UEAwwDb2xkMB4XDTI2MTEyMjAyNTQwNFoXDTI2MTIyMjAyNTQw\n\
NFowDjEMMAoGA1UEAwwDb2xkMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDJ\n\
r4RiwFjr2OfJ7Lg6HTVu4IuuOdOpGnLjIusHnrJkevc7lPz8pDPG0ucvk66wnkqV\n\
wIQYoMBLdrPksuaTyiAOLEzPgrhRaOrfWNkswjbm6TIADsmHBtLI+1xbqaDtROrT\n\
8t1xlITKK2XwfOYnDDOhvKcowyDmNd2e8sKJekzUdQIDAQABo1MwUTAdBgNVHQ4E\n\
FgQUTknmK3l1SEnmNKUj1YjC8I8L2UQwHwYDVR0jBBgwFoAUTknmK3l1SEnmNKUj\n\
1YjC8I8L2UQwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOBgQAjfK2U\n\
RJ9otep4wWhg3Os9cxonenuTwV7Ivuf9gS9vMgKxS/Ygg0MB8va4RK6CbwCtn4hO\n\
Ksn8DoDWe17Rfi+5TsqnG3trXwPYqLFt8/gqbDVXCAxLNhWxvg1+n2JvOaU7LEXw\n\
050IEyu1c+j5/e7VK26/iXpQ4bYuhxlSSN6WDg==\n\
-----END CERTIFICATE-----\n\
";
    let recorder = Recorder::new(NOW);
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    recorder
        .verify_server_cert(&der, &[], &ServerName::try_from(NAME).unwrap(), &[], unix_time(NOW))
        .unwrap();
    let judgement = recorder.judge(&Roots::None, None, NOW).unwrap();
    assert!(judgement.has_weak_key());
    assert_eq!(details(&judgement).details.get_text("subject"), Some("CN=old"));
    let root = Authority::root();
    assert!(!judge_of(&root.server(GOOD.0, GOOD.1), &root.roots(), None).has_weak_key());
}
