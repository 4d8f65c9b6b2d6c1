use super::*;
use crate::host::FixedHost;

/// A file that has to do with every rule.
const EVERYTHING: &str = "\
[supervisord]
strip_ansi=true
childlogdir=/tmp
[inet_http_server]
port=*:9001
[rpcinterface:other]
supervisor.rpcinterface_factory=my.module:factory
[group:g]
programs=web
[fcgi-program:web]
command=./web
environment=A='\"x\"'
directory=/srv
socket=tcp://localhost:9000
stdout_logfile=/var/log/100%%%%.log
[program:worker]
command=/usr/bin/pidproxy /run/x.pid worker
startsecs=0
group=nogroup
stdout_syslog=true
stdout_capture_maxbytes=1MB
stdout_events_enabled=true
stdout_logfile=/var/log/a.log
[program:twin]
command=/bin/twin
stdout_logfile=/var/log/a.log
strtsecs=3
";

fn of(text: &str) -> Import {
    let host = FixedHost::default().file("/etc/a.conf", text);
    import(Path::new("/etc/a.conf"), &host).unwrap()
}

fn topics(import: &Import) -> Vec<&str> {
    let about = import
        .findings
        .iter()
        .filter_map(|finding| finding.difference);
    about.map(|difference| difference.topic).collect()
}

#[test]
fn every_rule_is_about_a_row_of_the_page() {
    for rule in RULES {
        assert!(Difference::about(rule.topic).is_some(), "{}", rule.topic);
    }
    for place in ["include", "rpcinterface:x", "ctlplugin:x"] {
        let place = Place {
            section: Some(place.into()),
            ..Place::default()
        };
        let topic = rules::topic_of_advice(&place).unwrap();
        assert!(Difference::about(topic).is_some(), "{topic}");
    }
    assert!(Difference::about(UNKNOWN).is_some());
}

#[test]
fn every_rule_finds_what_it_is_for() {
    let import = of(EVERYTHING);
    let found = topics(&import);
    for rule in RULES {
        assert!(
            found.contains(&rule.topic),
            "{} is not in {found:?}",
            rule.topic
        );
    }
    for topic in [UNKNOWN, "two programs writing one log file"] {
        assert!(found.contains(&topic), "{topic} is not in {found:?}");
    }
    for finding in &import.findings {
        assert!(finding.place.line.is_some(), "{finding:?}");
    }
    let known = found
        .iter()
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    assert_eq!(import.everywhere, differences().len() - known);
}

#[test]
fn what_has_to_be_changed_comes_first_with_its_line_and_a_hint() {
    let import = of(EVERYTHING);
    assert!(import.is_refused());
    let first = &import.findings[0];
    assert_eq!(first.severity, Severity::Refused);
    assert_eq!(
        first.place.to_string(),
        "/etc/a.conf:5: [inet_http_server] port"
    );
    assert!(first.hint.as_deref().unwrap().contains("rsv_insecure"));
    assert_eq!(import.size, Some((3, 3)));
}

#[test]
fn a_plain_file_has_nothing_to_be_said_about() {
    let import = of(
        "[supervisord]\n[inet_http_server]\nport=127.0.0.1:9001\nusername=a\npassword=b\n\
        [program:x]\ncommand=/bin/x --log ./y\nstartsecs=0\nautorestart=false\ndirectory=/srv\n[agent]\nname=web01\n",
    );
    assert_eq!(
        topics(&import),
        ["state-changing links (GET) of the web page"]
    );
    assert!(!import.is_refused() && import.has_agent);
    assert_eq!(import.size, Some((1, 1)));
}

#[test]
fn what_supervisor_passes_over_and_has_an_effect_here_is_said() {
    let import = of(
        "[supervisord]\n[program:x]\ncommand=/bin/x\ngroup=nogroup\nrlimit_nofile=9\nstartretries=-1\n\
        restart_backoff_max=9s\nloglevel=info\n[program:y]\ncommand=/bin/y\nstartretries=1\n\
        [processcontrol]\nmaxprocs=9\n",
    );
    let places = import.findings.iter().map(|it| &it.place);
    let lines: Vec<_> = places.filter_map(|place| place.line).collect();
    assert_eq!(lines, [4, 5, 6, 7, 13], "{:?}", import.findings);
    let first = import.findings[0].difference.unwrap();
    assert!(first.supervisor.starts_with("ignored"), "{first:?}");
}

#[test]
fn what_is_refused_is_told_whole_and_the_rest_with_it() {
    let import = of(
        "[supervisord]\n[program:x]\ncommand=/bin/x\nautostart=maybe\nstopsignal=0\n\
        startsecs=0\n",
    );
    let refused = import
        .findings
        .iter()
        .filter(|it| it.severity == Severity::Refused);
    let lines: Vec<_> = refused.map(|it| it.place.line.unwrap()).collect();
    assert_eq!(lines, [4, 5]);
    assert_eq!(import.size, None);
    assert_eq!(topics(&import), ["`startsecs=0` and ends at once"]);
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let host = FixedHost::default();
    let errors = import(Path::new("/etc/none.conf"), &host).unwrap_err();
    assert!(
        errors
            .render()
            .contains("could not find config file /etc/none.conf")
    );
}
