//! A real Prometheus and a real Alertmanager beside the daemon, in the client's namespace.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Lab, text, until};

/// Where the files that are shipped are.
pub const DASHBOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");

/// A server of the client's namespace that speaks HTTP with JSON.
pub struct Server<'a> {
    lab: &'a Lab,
    address: SocketAddr,
    child: Child,
}

impl<'a> Server<'a> {
    /// Starts a program, and waits until it is ready.
    fn start(lab: &'a Lab, name: &str, program: &str, port: u16, arguments: &[&str]) -> Self {
        let log = File::create(lab.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &lab.namespace("client"), program]).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let server = Self { lab, address: SocketAddr::from(([127, 0, 0, 1], port)), child };
        let ready = || server.request("GET", "/-/ready", "").is_ok_and(|(status, _)| status == 200);
        let mut tries = 0;
        until(&format!("{program} is ready: {}", lab.read(&format!("{name}.log"))), 20, || {
            tries += 1;
            tries > 1 && ready()
        });
        server
    }

    /// Prometheus with a configuration file and what its folder of data already has.
    pub fn prometheus(lab: &'a Lab, name: &str, port: u16, config: &str, native: bool) -> Self {
        let config = lab.config(&format!("{name}.yml"), config);
        let data = lab.path(name);
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if native {
            arguments.push("--enable-feature=native-histograms");
        }
        Self::start(lab, name, "prometheus", port, &arguments)
    }

    /// Alertmanager with a configuration file.
    pub fn alertmanager(lab: &'a Lab, port: u16, config: &str) -> Self {
        let config = lab.config("alertmanager.yml", config);
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", lab.path("alertmanager").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::start(lab, "alertmanager", "prometheus-alertmanager", port, &arguments)
    }

    fn request(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        self.lab.within("client", || {
            let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-length: {length}\r\n\
                 content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
                self.address
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let answer = text(&answer);
            let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            status.zip(body).ok_or_else(|| std::io::Error::other(answer))
        })
    }

    /// What it has at a path.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, "").unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The series of a query over a span of seconds since the epoch, each second; what was wrong with it.
    pub fn query_range(&self, expression: &str, start: f64, end: f64) -> Result<Vec<Value>, String> {
        let form = format!("query={}&start={start}&end={end}&step=1", encoded(expression));
        let (status, body) = self.request("POST", "/api/v1/query_range", &form).unwrap();
        let json: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        match json["data"]["result"].as_array() {
            Some(series) if status == 200 => Ok(series.clone()),
            _ => Err(body),
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Percent-encoded for a form.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

/// A history of a week ago for a Prometheus that is not started yet: the series of two scrapes, `seconds`
/// apart, that go on as they began, from a minute before to three minutes after `now` less a week.
pub fn history(lab: &Lab, names: &[&str], first: &str, second: &str, seconds: f64, now: f64) {
    const WEEK: f64 = 7.0 * 86_400.0;
    const STEP: f64 = 5.0;
    let values = |scrape: &str| -> Vec<(String, f64)> {
        let lines = scrape.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        pairs.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
    };
    let before: std::collections::HashMap<_, _> = values(first).into_iter().collect();
    let mut out = String::new();
    for (series, value) in values(second) {
        let (name, labels) = series.split_once('{').unwrap_or((&series, "}"));
        let counter = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        let slope = if counter { (value - before.get(&series).unwrap_or(&0.0)) / seconds } else { 0.0 };
        let mut at = -60.0;
        while at <= 180.0 {
            let value = value + slope * (at + 60.0);
            let when = now - WEEK + at;
            let rest = if labels == "}" { "}".to_owned() } else { format!(",{labels}") };
            writeln!(out, "{name}{{job=\"vpnprobe\",instance=\"127.0.0.1:10069\"{rest} {value} {when:.3}")
                .unwrap();
            at += STEP;
        }
    }
    out.push_str("# EOF\n");
    let file: PathBuf = lab.path("history.om");
    std::fs::write(&file, out).unwrap();
    for name in names {
        let mut command = Command::new("promtool");
        command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(lab.path(name));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}
