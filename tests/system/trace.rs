//! One command is one trace, from the command line over the controller to the agent.

use rsv_tests::{
    collector::{Collector, Span},
    command::{command, run},
    eventually::eventually,
    fleet::Fleet,
};

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

const PROGRAMS: &str = "[program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";

#[test]
fn a_restart_is_one_trace_over_cli_controller_and_agent() {
    let collector = Collector::start();
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    eventually("app runs", || fleet.host("web01").state("app") == "RUNNING");
    traced_again(&mut fleet, &collector);

    let mut restart = fleet.command(["-H", "web01", "restart", "app"]);
    run(restart.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())).expect_code(0);

    let find = |service: &str, name: &str| {
        collector
            .spans()
            .into_iter()
            .find(|s| s.service == service && s.name == name)
    };
    let mut found: Vec<Option<Span>> = Vec::new();
    eventually("every span has arrived", || {
        found = vec![
            find("rsv-cli", "rsv restart"),
            find("rsv-cli", "rsv.v1.Fleet/Act"),
            find("rsv-controller", "rsv.v1.Fleet/Act"),
            find("rsv-controller", "rsv.command"),
            find("rsv-agent", "rsv.process.restart"),
        ];
        found.iter().all(Option::is_some)
    });
    let chain: Vec<Span> = found.into_iter().flatten().collect();
    assert!(
        chain[0].parent.is_empty(),
        "the command line's span is the root"
    );
    for pair in chain.windows(2) {
        assert_eq!(
            pair[1].trace, pair[0].trace,
            "{} is in another trace",
            pair[1].name
        );
        assert_eq!(
            pair[1].parent, pair[0].id,
            "{} hangs elsewhere",
            pair[1].name
        );
    }
    let kinds: Vec<i32> = chain.iter().map(|span| span.kind).collect();
    assert_eq!(kinds, [INTERNAL, CLIENT, SERVER, INTERNAL, INTERNAL]);
}

/// Starts controller and agent again, so that they export to the collector.
fn traced_again(fleet: &mut Fleet, collector: &Collector) {
    fleet.controller().terminate();
    fleet.host("web01").agent().kill();
    let endpoint = collector.endpoint();
    fleet.start_controller_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
    fleet
        .host("web01")
        .start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
    fleet.wait_connected(1);
}

#[test]
fn nothing_is_exported_and_nothing_waits_without_an_endpoint() {
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    eventually("app runs", || fleet.host("web01").state("app") == "RUNNING");
    fleet.rsv(["-A", "restart", "app"]).expect_code(0);
}

/// What the daemons log by default of a collector, in order.
fn told(fleet: &mut Fleet) -> Vec<String> {
    let log = fleet.host("web01").path("log/agent.log");
    let log = std::fs::read_to_string(log).expect("the agent's log");
    let lines = log.lines().filter(|line| line.contains("the collector"));
    let lines = lines.filter(|line| line.contains("signal=metrics"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_collector_that_goes_and_comes_is_said_once_each() {
    let collector = Collector::start();
    let endpoint = collector.endpoint().to_owned();
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    fleet.host("web01").agent().kill();
    fleet.host("web01").start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ]);
    eventually("metrics come", || !collector.points().is_empty());
    assert_eq!(told(&mut fleet), Vec::<String>::new());

    drop(collector);
    eventually("the loss is said", || !told(&mut fleet).is_empty());
    let collector = Collector::start_at(endpoint.trim_start_matches("http://"));
    eventually("the return is said", || told(&mut fleet).len() > 1);
    eventually("metrics come again", || !collector.points().is_empty());
    let lines = told(&mut fleet);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("WARN the collector takes nothing"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("INFO the collector takes them again"),
        "{lines:?}"
    );
}

#[test]
fn a_collector_that_hangs_holds_up_no_end() {
    // It accepts connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let mut fleet = Fleet::start(&["web01"], PROGRAMS);
    fleet.host("web01").agent().kill();
    fleet
        .host("web01")
        .start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    fleet.host("web01").rsv(["restart", "app"]).expect_code(0);
    let started = std::time::Instant::now();
    fleet.host("web01").agent().terminate();
    let took = started.elapsed();
    assert!(took.as_secs() < 9, "it took {took:?}");
    let log = fleet.host("web01").path("log/agent.log");
    let log = std::fs::read_to_string(log).expect("the agent's log");
    assert!(log.contains("WARN the collector does not answer"), "{log}");
}

#[test]
fn a_collector_that_is_not_there_does_not_hold_up_a_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut host = rsv_tests::host::Host::new(directory.path(), "h", "", PROGRAMS);
    host.start();
    eventually("app runs", || host.state("app") == "RUNNING");
    let mut restart = command("rsv", ["-c"]);
    restart.arg(host.configuration()).args(["restart", "app"]);
    // Port 1 of loopback refuses connections.
    restart.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let started = std::time::Instant::now();
    run(&mut restart).expect_code(0);
    assert!(
        started.elapsed().as_secs() < 9,
        "it took {:?}",
        started.elapsed()
    );
}
