//! The dashboard: every query of it, run against a real Prometheus that is fed by a real small fleet.

use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rsv_tests::{
    collector::Collector,
    eventually::{PATIENCE, eventually, within},
    fleet::Fleet,
    prometheus::Prometheus,
};

const PROGRAMS: &str = "[program:app]\ncommand = /bin/sh -c 'echo up; exec sleep 1000'\nstartsecs = 0\n\
                        [program:bad]\ncommand = /bin/false\nstartretries = 0\n\
                        [eventlistener:deaf]\ncommand = /bin/sleep 1000\nevents = PROCESS_STATE\n";

/// Title and query of each target of each panel, with the variables as Grafana fills them.
fn queries(dashboard: &serde_json::Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let query = query
                .replace("$__rate_interval", "30s")
                .replace("$host", "(web01|web02)");
            assert!(!query.contains('$'), "{title}: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    queries
}

#[test]
fn every_query_of_the_dashboard_finds_something() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/fleet.json");
    let text = std::fs::read_to_string(Path::new(path)).expect("the dashboard");
    let dashboard = serde_json::from_str(&text).expect("it is JSON");
    let queries = queries(&dashboard);
    assert!(queries.len() >= 12, "{queries:?}");

    let collector = Arc::new(Collector::start());
    let directory = tempfile::tempdir().expect("a directory");
    let prometheus = Prometheus::start(directory.path(), Arc::clone(&collector));
    let mut fleet = Fleet::start(&["web01", "web02"], PROGRAMS);
    let exports = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ];
    fleet.controller().terminate();
    fleet.start_controller_with(&exports);
    for host in ["web01", "web02"] {
        fleet.host(host).agent().kill();
        fleet.host(host).start_with(&exports);
    }
    fleet.wait_connected(2);
    eventually("a program is given up", || {
        fleet.host("web01").state("bad") == "FATAL"
    });

    // Rates need two different values: things go on happening until all is seen.
    let mut open = queries;
    let mut wrong = Vec::new();
    within(4 * PATIENCE, "every query finds something", || {
        fleet.host("web01").signal("app", Signal::SIGKILL);
        fleet.rsv(["-A", "restart", "app"]);
        // Refused: there is no such operation.
        fleet.rsv(["op", "show", "nothing"]);
        wrong.clear();
        open.retain(|(title, query)| match prometheus.query(query) {
            Ok(series) => series.is_empty(),
            Err(error) => {
                wrong.push(format!("{title}: {query}: {error}"));
                true
            }
        });
        open.is_empty()
    });
    assert!(wrong.is_empty(), "{wrong:?}");
}
