//! The HTTP side: what can be asked, and of whom.
//!
//! | path | answer |
//! |---|---|
//! | `GET /metrics` | text 0.0.4, or protobuf if `Accept` prefers it; gzip if asked for. `?histograms=native` leaves the classic buckets out of protobuf |
//! | `GET /probe?target=&module=` | one exchange now, in `blackbox_exporter`'s names |
//! | `GET /-/healthy`, `GET /-/ready` | 200, or 503 with the reason |
//! | `POST /-/reload` | 200, or 500 with the problems |
//! | `GET /config` | the configuration in force, secrets masked |
//! | `GET /api/v1/status` | everything known now, as JSON; with `?target=`, of that target |
//! | `GET /api/v1/incidents`, `GET /api/v1/incidents/ID` | what was recorded around outages and flaps, as JSON |
//! | `GET /sd` | the configured targets, for `http_sd_configs` |
//! | `GET /` | the status page |
//!
//! Invariants: a request names a target of the configuration or probes nothing; no answer repeats what
//! the request said; no answer redirects; no body of a request is read. Nothing here waits for the
//! engine but `/probe` and `/-/reload`, which have a deadline. Behind a [`Guard`] with passwords no path is
//! answered without one.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::metrics::{Form, Registry};
use super::page::{CONTENT_SECURITY_POLICY, Page};
use super::paths::Paths;
use super::status::Status;
use crate::store::Shelf;

mod accept;
mod guard;
mod incidents;
mod places;
mod probe;
mod scrape;
mod server;
mod tls;

#[cfg(test)]
mod tests;

pub use accept::Format;
use accept::gzip;
use guard::Entry;
pub use guard::Guard;
use places::{Place, Places};
pub use probe::{ProbeError, ProbeNow};
use scrape::Scrape;
#[cfg(feature = "fuzzing")]
pub use server::one;
pub use server::{Limits, serve};

/// A future in a box, as the trait needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The daemon as the HTTP side sees it. The calls without a future must return at once.
pub trait Daemon: Send + Sync {
    /// Loads the configuration again. The error is for people: all problems of the file.
    fn reload(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Runs one exchange of the probe named `module` of `target` now, under the same budget as all
    /// others, with a timeout of at most `timeout`. Its sample belongs to the answer alone and is not
    /// counted in the series.
    fn probe(
        &self,
        target: &str,
        module: &str,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<ProbeNow, ProbeError>>;

    /// The configuration in force as YAML, every secret masked.
    fn config_text(&self) -> String;

    /// Whether it is listening and probing; if not, why: it is starting, or no attempt was made for
    /// three intervals.
    fn ready(&self) -> Result<(), String>;

    /// The configured targets.
    fn targets(&self) -> Vec<TargetRow>;
}

/// A configured target, as `/sd` and `/probe` need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRow {
    /// Its name.
    pub name: String,
    /// Its addresses and names, as configured.
    pub addresses: Vec<String>,
    /// The VPNs it declares, for example `ipsec`.
    pub vpn: Vec<String>,
    /// The names of its probes: the modules of `/probe`.
    pub probes: Vec<String>,
}

/// What answers requests.
pub struct App {
    registry: Registry,
    daemon: Arc<dyn Daemon>,
    shelf: Arc<Shelf>,
    probe_timeout: Duration,
    limits: Limits,
    guard: Guard,
    scrapes: Places,
    probes: Places,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Client {
    /// Its address, an IPv4 one as such.
    from: IpAddr,
    /// Whether it has connected to a loopback address.
    loopback: bool,
}

/// An answer.
type Answer = Response<Either<Full<Bytes>, Scrape>>;

/// Where the incidents are listed; below it is each of them.
const INCIDENTS: &str = "/api/v1/incidents";
/// How many of them the page shows.
const ON_PAGE: usize = 10;

/// The id in the path of an incident.
fn incident(path: &str) -> Option<&str> {
    path.strip_prefix(INCIDENTS)?.strip_prefix('/').filter(|id| !id.is_empty())
}

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl App {
    /// An app over these; `probe_timeout` is for `/probe` requests whose scraper says none.
    #[must_use]
    pub fn new(registry: Registry, daemon: Arc<dyn Daemon>, probe_timeout: Duration, limits: Limits) -> Self {
        let scrapes = Places::new(limits.scrapes);
        let probes = Places::new(limits.probes);
        Self {
            registry,
            daemon,
            shelf: Arc::default(),
            probe_timeout,
            limits,
            guard: Guard::open(),
            scrapes,
            probes,
        }
    }

    /// The same behind a guard.
    #[must_use]
    pub fn behind(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// As [`Self::answer`], for those who may have one.
    async fn guarded_answer<B: Body>(&self, request: &Request<B>, client: Client) -> (Answer, Option<Place>) {
        let settings = self.guard.settings();
        let (mut answer, place) = match self.guard.entry(&settings, request.headers()).await {
            Entry::Granted => self.answer(request, client).await,
            Entry::Refused => {
                let mut answer = text(StatusCode::UNAUTHORIZED, "A name and its password are needed.\n");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                (answer, None)
            }
        };
        for (name, value) in &settings.headers {
            answer.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        (answer, place)
    }

    /// The same with these incidents.
    #[must_use]
    pub fn with_incidents(self, shelf: Arc<Shelf>) -> Self {
        Self { shelf, ..self }
    }

    /// The answer to a request, and what must be held until it is sent.
    async fn answer<B: Body>(&self, request: &Request<B>, client: Client) -> (Answer, Option<Place>) {
        if let Some(refusal) = self.refuse(request, client.loopback) {
            return (refusal, None);
        }
        let method = request.method();
        let get = method == Method::GET || method == Method::HEAD;
        let path = request.uri().path();
        let read = matches!(
            path,
            "/" | "/metrics"
                | "/probe"
                | "/config"
                | "/sd"
                | "/api/v1/status"
                | "/api/v1/path"
                | INCIDENTS
                | "/-/healthy"
                | "/-/ready"
        ) || incident(path).is_some();
        let allowed = match path {
            _ if read && get => "",
            "/-/reload" if method == Method::POST => "",
            _ if read => "GET, HEAD",
            "/-/reload" => "POST",
            _ => return (text(StatusCode::NOT_FOUND, "Not found. / lists what there is.\n"), None),
        };
        if !allowed.is_empty() {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "This path does not take that method.\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return (answer, None);
        }
        let places = match path {
            "/metrics" | "/" | "/api/v1/status" | "/api/v1/path" | INCIDENTS => Some(&self.scrapes),
            "/probe" => Some(&self.probes),
            _ if incident(path).is_some() => Some(&self.scrapes),
            _ => None,
        };
        let place = match places.map(|places| places.take(client.from)) {
            Some(None) => {
                let busy = "Too many requests of this kind are being answered; try again.\n";
                return (text(StatusCode::SERVICE_UNAVAILABLE, busy), None);
            }
            Some(Some(place)) => Some(place),
            None => None,
        };
        (self.route(request, path).await, place)
    }

    async fn route<B>(&self, request: &Request<B>, path: &str) -> Answer {
        match path {
            "/metrics" => self.metrics(request),
            "/probe" => self.probe(request).await,
            "/-/healthy" => text(StatusCode::OK, "Healthy\n"),
            "/-/ready" => match self.daemon.ready() {
                Ok(()) => text(StatusCode::OK, "Ready\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("Not ready: {why}\n")),
            },
            "/-/reload" => self.reload().await,
            "/config" => body(PLAIN, self.daemon.config_text().into_bytes()),
            "/sd" => json(&discovery(self.daemon.targets())),
            "/api/v1/status" => json(&self.status(only(request).as_deref())),
            "/api/v1/path" => json(&Paths::read(&self.registry)),
            INCIDENTS => self.incidents(request),
            _ => match incident(path) {
                Some(id) => self.incident(id).await,
                None => self.page(),
            },
        }
    }

    fn metrics<B>(&self, request: &Request<B>) -> Answer {
        let format = Self::format(request);
        let classic = !request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "histograms=native"));
        let form = match format {
            Format::Text => Form::Text,
            Format::Protobuf => Form::Protobuf { classic },
        };
        let gzip = gzip(&listed(request, header::ACCEPT_ENCODING));
        let only = request.uri().query().map(|query| probe::parameters(query, "name[]")).unwrap_or_default();
        let scrape = Scrape::new(self.registry.expose(form, &only), gzip);
        let mut answer = with_headers(format.content_type(), Either::Right(scrape));
        if gzip {
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }

    /// Says no to what no route may see.
    fn refuse<B: Body>(&self, request: &Request<B>, loopback: bool) -> Option<Answer> {
        let target = request.uri();
        let length = target.path().len() + target.query().map_or(0, |query| query.len() + 1);
        if length > self.limits.target_bytes {
            return Some(text(StatusCode::URI_TOO_LONG, "The request target is too long.\n"));
        }
        if !request.body().is_end_stream() {
            let mut answer = text(StatusCode::PAYLOAD_TOO_LARGE, "No request here takes a body.\n");
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Some(answer);
        }
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
        // A browser's page must not reach a loopback listener through a name of its own (DNS
        // rebinding), nor reload anything from another site.
        let host = header(header::HOST).unwrap_or("localhost");
        if loopback && !is_local_name(host) {
            return Some(text(
                StatusCode::MISDIRECTED_REQUEST,
                "This host name does not belong to a loopback address.\n",
            ));
        }
        if request.method() != Method::GET && header(header::ORIGIN).is_some() {
            return Some(text(StatusCode::FORBIDDEN, "Requests from web pages are not taken.\n"));
        }
        None
    }

    fn format<B>(request: &Request<B>) -> Format {
        Format::negotiate(&listed(request, header::ACCEPT))
    }

    /// Leaves room for the answer within the limit of the request.
    fn deadline(&self) -> Duration {
        self.limits.request.mul_f64(0.95)
    }

    async fn reload(&self) -> Answer {
        match tokio::time::timeout(self.deadline(), self.daemon.reload()).await {
            Ok(Ok(())) => text(StatusCode::OK, "Reloaded\n"),
            Ok(Err(problems)) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("Failed to reload, the old configuration runs on:\n{problems}\n"),
            ),
            Err(_) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "The reload has not ended in time; see the log.\n")
            }
        }
    }

    fn status(&self, only: Option<&str>) -> Status {
        Status::read(&self.registry, self.daemon.ready(), only)
    }

    fn page(&self) -> Answer {
        let status = self.status(None);
        let Ok(html) = Page::new(&status, &self.shelf.latest(ON_PAGE)).render() else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "The page cannot be made.\n");
        };
        let mut answer = body("text/html; charset=utf-8", html.into_bytes());
        let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        answer
    }
}

/// The target that a request for the status is about; nothing for all.
fn only<B>(request: &Request<B>) -> Option<String> {
    probe::parameter(request.uri().query()?, "target")
}

/// All values of a header that is a list.
fn listed<B>(request: &Request<B>, name: header::HeaderName) -> String {
    let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}

/// Whether a `Host` header names a loopback listener: an address, or `localhost`.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<std::net::IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// One entry of an HTTP service discovery answer.
#[derive(Serialize)]
struct Discovered {
    targets: [String; 1],
    labels: Labels,
}

#[derive(Serialize)]
struct Labels {
    #[serde(rename = "__meta_vpnprobe_addresses")]
    addresses: String,
    #[serde(rename = "__meta_vpnprobe_vpn")]
    vpn: String,
    #[serde(rename = "__meta_vpnprobe_probes")]
    probes: String,
}

/// Lists are joined by commas and have one at each end, as Prometheus' own discoveries have it, so
/// that a rule can match `.*,ike,.*`.
fn discovery(targets: Vec<TargetRow>) -> Vec<Discovered> {
    let list = |items: &[String]| {
        items.iter().fold(String::from(","), |mut out, item| {
            let _ = write!(out, "{item},");
            out
        })
    };
    let entry = |row: TargetRow| Discovered {
        labels: Labels { addresses: list(&row.addresses), vpn: list(&row.vpn), probes: list(&row.probes) },
        targets: [row.name],
    };
    targets.into_iter().map(entry).collect()
}

fn text(status: StatusCode, content: &str) -> Answer {
    let mut answer = body(PLAIN, content.as_bytes().to_vec());
    *answer.status_mut() = status;
    answer
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(content) => body(JSON, content),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "The answer cannot be made.\n"),
    }
}

fn body(content_type: &'static str, content: Vec<u8>) -> Answer {
    with_headers(content_type, Either::Left(Full::new(Bytes::from(content))))
}

fn with_headers(content_type: &'static str, content: Either<Full<Bytes>, Scrape>) -> Answer {
    let mut answer = Response::new(content);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
