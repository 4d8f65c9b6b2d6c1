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
        started.elapsed().as_secs() < 5,
        "it took {:?}",
        started.elapsed()
    );
}
