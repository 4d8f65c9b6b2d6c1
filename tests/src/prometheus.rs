//! A real Prometheus, fed with what a [`Collector`] has been sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use crate::collector::{Collector, Point};

/// Debian's program.
const PROGRAM: &str = "prometheus";

/// Ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Starts one that reads the collector every second.
    ///
    /// # Panics
    ///
    /// When it is not installed, or does not start.
    pub fn start(directory: &Path, collector: Arc<Collector>) -> Self {
        let bridge = TcpListener::bind("127.0.0.1:0").expect("a port");
        let source = bridge.local_addr().expect("an address");
        // Ends with the process: nobody asks any more when Prometheus has gone.
        thread::spawn(move || serve(&bridge, &collector));
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("an address").to_string();
        drop(port);
        let configuration = directory.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: rsv\n    \
             static_configs:\n      - targets: ['{source}']\n"
        );
        std::fs::write(&configuration, text).expect("a file");
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`prometheus` is installed, as tests/run.sh does");
        Self { child, address }
    }

    /// The answer to a query: each series with its labels and value.
    ///
    /// # Errors
    ///
    /// What Prometheus says of the query, or that it does not answer.
    pub fn query(&self, query: &str) -> Result<Vec<serde_json::Value>, String> {
        let encoded = query.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "%{byte:02X}").expect("a string takes all");
            text
        });
        let path = format!("/api/v1/query?query={encoded}");
        let answer = get(&self.address, &path).map_err(|error| error.to_string())?;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => Err(answer["error"].to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // An error says that it has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    Ok(body.unwrap_or_default())
}

fn serve(bridge: &TcpListener, collector: &Collector) {
    for stream in bridge.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut request = [0; 4096];
        if stream.read(&mut request).is_err() {
            continue;
        }
        let body = exposition(&collector.points());
        let length = body.len();
        let head = format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        // Whoever asked may have gone.
        stream.write_all((head + &body).as_bytes()).ok();
    }
}

/// The points as text, by the names that OpenTelemetry's own exporter for Prometheus gives them.
///
/// # Panics
///
/// Never: a string takes all.
pub fn exposition(points: &[Point]) -> String {
    let mut families: BTreeMap<String, Vec<&Point>> = BTreeMap::new();
    for point in points {
        families.entry(family(point)).or_default().push(point);
    }
    let mut text = String::new();
    for (name, points) in families {
        for point in points {
            expose(&mut text, &name, point).expect("a string takes all");
        }
    }
    text
}

fn expose(text: &mut String, name: &str, point: &Point) -> std::fmt::Result {
    let labels = labels(point);
    if point.kind != "histogram" {
        return writeln!(text, "{name}{{{labels}}} {}", point.value);
    }
    let mut below = 0;
    let bounds = point.bounds.iter().map(ToString::to_string);
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&point.buckets) {
        below += count;
        writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
    }
    writeln!(text, "{name}_sum{{{labels}}} {}", point.value)?;
    writeln!(text, "{name}_count{{{labels}}} {}", point.count)
}

fn family(point: &Point) -> String {
    let mut name = point.metric.replace('.', "_");
    match point.unit.as_str() {
        "s" => name.push_str("_seconds"),
        "By" => name.push_str("_bytes"),
        _ => {}
    }
    if point.kind == "sum" {
        name.push_str("_total");
    }
    name
}

fn labels(point: &Point) -> String {
    let mut labels = vec![format!("service_name=\"{}\"", point.service)];
    if !point.agent.is_empty() {
        labels.push(format!("rsv_agent_id=\"{}\"", point.agent));
    }
    for (key, value) in &point.attributes {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        labels.push(format!("{}=\"{value}\"", key.replace('.', "_")));
    }
    labels.join(",")
}
