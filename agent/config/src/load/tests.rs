//! What whole configurations give.

mod refusals;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::host::{FixedHost, Owner};
use crate::{
    ByteSize, FcgiAddress, FcgiSocket, Flag, GroupKind, LogLevel, LogTarget, MainLog, Mode,
    ProcessId, RlimitResource, StartRetries,
};

fn load_text(text: &str, host: &FixedHost) -> Result<Loaded, ConfigErrors> {
    load_str(
        text,
        Path::new("bad.conf"),
        &Overrides::default(),
        Strictness::Lenient,
        host,
    )
}

/// Supervisor's text for a configuration that is refused.
fn refusal(text: &str) -> String {
    let error = load_text(text, &FixedHost::default()).expect_err(text);
    error.first().supervisor_text().to_owned()
}

const S: &str = "[supervisord]\nuser=root\n";
const P: &str = "[program:x]\ncommand=/bin/true\n";
const IN: &str = " in section 'program:x' (file: 'bad.conf')";

#[test]
fn a_small_configuration_gives_absolute_and_resolved_values() {
    let text = "[supervisord]\nlogfile=main.log\nenvironment=G=\"1\"\n\
        [program:w]\ncommand=%(here)s/w --n=%(process_num)02d %(ENV_L)s\n\
        process_name=%(program_name)s_%(process_num)02d\nnumprocs=2\nnumprocs_start=3\n\
        environment=L=\"l%(process_num)d\"\nstdout_logfile=%(ENV_G)s.log\n";
    let config = load_text(text, &FixedHost::default()).unwrap().config;
    assert_eq!(
        config.supervisord.logfile,
        MainLog::File("/srv/main.log".into())
    );
    let id = ProcessId {
        group: "w".into(),
        name: "w_04".into(),
    };
    let process = config.process(&id).unwrap();
    assert_eq!(process.command, "/srv/w --n=04 l4");
    assert_eq!(process.stdout.log, LogTarget::File("/srv/1.log".into()));
    let env: Vec<_> = process.environment.iter().collect();
    assert_eq!(
        env,
        [
            (&"G".to_owned(), &"1".to_owned()),
            (&"L".to_owned(), &"l4".to_owned())
        ]
    );
    assert_eq!(id.to_string(), "w:w_04");
    assert_eq!(
        config.locations.socket,
        PathBuf::from("/srv/supervisord.rsv/agent.sock")
    );
}

const AGENT: &str = "[supervisord]\n[agent]\n";

#[test]
fn with_an_agent_section_a_broken_program_is_refused_alone() {
    let text = format!(
        "{AGENT}[program:good]\ncommand=g\n[program:bad]\numask=9\nautostart=maybe\n\
         [program:x y]\ncommand=z\n[eventlistener:deaf]\npriority=p\n"
    );
    let config = load_text(&text, &FixedHost::default()).unwrap().config;
    let groups: Vec<_> = config
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(groups, ["good"]);
    let broken: Vec<_> = config
        .broken
        .iter()
        .map(|program| {
            let texts: Vec<_> = program
                .errors
                .iter()
                .map(|e| e.fault().text.as_str())
                .collect();
            (program.name.as_str(), texts)
        })
        .collect();
    assert_eq!(
        broken,
        [
            (
                "bad",
                vec![
                    "not a valid boolean value: 'maybe'",
                    "9 can not be converted to an octal type",
                    "program section program:bad does not specify a command",
                ]
            ),
            ("x y", vec!["Invalid name: 'x y' because of character: ' '"]),
            (
                "deaf",
                vec![
                    "invalid literal for int() with base 10: 'p'",
                    "[eventlistener:deaf] section requires an \"events\" line",
                    "program section eventlistener:deaf does not specify a command",
                ]
            ),
        ]
    );
}

#[test]
fn a_groups_sound_members_run_when_another_is_broken() {
    let text = format!(
        "{AGENT}[group:g]\nprograms=a,b,nope\n[program:a]\ncommand=a\n[program:b]\ncommand=b\numask=9\n"
    );
    let config = load_text(&text, &FixedHost::default()).unwrap().config;
    let names: Vec<String> = config
        .processes()
        .map(|process| process.id.to_string())
        .collect();
    assert_eq!(names, ["g:a"]);
    let sections: Vec<_> = config
        .broken
        .iter()
        .map(|broken| broken.section.as_str())
        .collect();
    assert_eq!(sections, ["program:b", "group:g"]);
}

#[test]
fn without_an_agent_section_all_errors_are_collected_in_supervisors_order() {
    let text = "[unix_http_server]\n[program:b]\nautostart=2\n[program:a]\numask=9\ncommand=a\n\
        [supervisord]\nloglevel=loud\nminfds=x\n";
    let errors = load_text(text, &FixedHost::default()).unwrap_err();
    let texts: Vec<_> = errors
        .iter()
        .map(|error| error.fault().text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "invalid literal for int() with base 10: 'x'",
            "bad logging level name 'loud'",
            "not a valid boolean value: '2'",
            "program section program:b does not specify a command",
            "9 can not be converted to an octal type",
            "section [unix_http_server] has no file value",
        ]
    );
}

#[test]
fn groups_are_ordered_by_priority_and_name_and_so_are_their_processes() {
    let text = format!(
        "{S}[program:z]\ncommand=z\npriority=1\n[program:b]\ncommand=b\n[program:a]\ncommand=a\n\
         [group:m]\nprograms=p,q\npriority=5\n[program:p]\ncommand=p\npriority=9\n\
         [program:q]\ncommand=q\npriority=8\n[eventlistener:e]\ncommand=e\nevents=tick_5,EVENT,TICK_5\n"
    );
    let config = load_text(&text, &FixedHost::default()).unwrap().config;
    let names: Vec<String> = config
        .processes()
        .map(|process| process.id.to_string())
        .collect();
    assert_eq!(names, ["e", "z", "m:q", "m:p", "a", "b"]);
    let GroupKind::EventListener(pool) = &config.groups[0].kind else {
        panic!("{:?}", config.groups[0].kind);
    };
    let events: Vec<_> = pool.events.iter().map(|kind| kind.name()).collect();
    assert_eq!((events, pool.buffer_size), (vec!["EVENT", "TICK_5"], 10));
}

#[test]
fn names_that_would_hide_each_other_are_refused() {
    for (text, expected) in [
        (
            "[program:a]\ncommand=a\n[eventlistener:a]\ncommand=a\nevents=TICK\n",
            "[eventlistener:a] has the same group name as [program:a]",
        ),
        (
            "[group:a]\nprograms=b\n[program:b]\ncommand=b\n[program:a]\ncommand=a\n",
            "[program:a] has the same group name as [group:a]",
        ),
        (
            "[group:g]\nprograms=a,b\n[program:a]\ncommand=a\nprocess_name=x\n[program:b]\ncommand=b\nprocess_name=x\n",
            "[group:g] has two processes named x",
        ),
    ] {
        assert_eq!(refusal(&format!("{S}{text}")), expected);
    }
}

#[test]
fn unknown_keys_and_sections_are_warned_of_and_strictly_refused() {
    let text = format!(
        "{S}{P}autorestrat=true\nfoo=1\n[progam:y]\ncommand=y\n[program]\n[zzz]\n[prog:a]\n[fcgi:b]\n[pr:c]\n"
    );
    let loaded = load_text(&text, &FixedHost::default()).unwrap();
    let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "bad.conf:5: [program:x] autorestrat: unknown key (did you mean `autorestart`?)",
            "bad.conf:6: [program:x] foo: unknown key",
            "bad.conf:7: [progam:y]: unknown section (did you mean [program:y]?)",
            "bad.conf:9: [program]: unknown section (it needs a name: [program:NAME])",
            "bad.conf:10: [zzz]: unknown section",
            "bad.conf:11: [prog:a]: unknown section (did you mean [program:a]?)",
            "bad.conf:12: [fcgi:b]: unknown section (did you mean [fcgi-program:b]?)",
            "bad.conf:13: [pr:c]: unknown section",
        ]
    );
    let strict = load_str(
        &text,
        Path::new("bad.conf"),
        &Overrides::default(),
        Strictness::Strict,
        &FixedHost::default(),
    );
    let errors = strict.unwrap_err();
    assert_eq!(
        errors.iter().next().unwrap().render(),
        "bad.conf:5: [program:x] autorestrat: unknown key\n  hint: did you mean `autorestart`?"
    );
}

#[test]
fn the_default_section_reaches_every_section_but_the_rpc_factories() {
    let text = "[DEFAULT]\nautostart=false\nfiles=none\n[supervisord]\n[program:x]\ncommand=x\n\
        [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n";
    let loaded = load_text(text, &FixedHost::default()).unwrap();
    assert!(!loaded.config.groups[0].processes[0].autostart);
    assert!(loaded.config.rpc_interfaces[0].options.is_empty());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn the_command_line_beats_the_file() {
    let given = |text: &str| Some(text.to_owned());
    let overrides = Overrides {
        nodaemon: Some(Flag),
        loglevel: given("debug"),
        pidfile: given("/run/o.pid"),
        umask: given("077"),
        user: given("nobody"),
        logfile: given("syslog"),
        logfile_maxbytes: given("1KB"),
        identifier: given("me"),
        minprocs: given("7"),
        host_name: given("web01"),
        ..Overrides::default()
    };
    let text = "[supervisord]\nloglevel=warn\npidfile=/run/f.pid\n[agent]\nname=other\n";
    let load = |overrides: &Overrides| {
        let host = FixedHost::default();
        load_str(
            text,
            Path::new("a.conf"),
            overrides,
            Strictness::Strict,
            &host,
        )
    };
    let config = load(&overrides).unwrap().config;
    let daemon = &config.supervisord;
    assert!(daemon.nodaemon && !daemon.silent);
    assert_eq!(daemon.log_level, LogLevel::Debug);
    assert_eq!(daemon.pidfile, Path::new("/run/o.pid"));
    assert_eq!((daemon.umask, daemon.minprocs), (Mode(0o77), 7));
    assert_eq!(daemon.user.as_ref().map(|user| user.uid), Some(65534));
    assert_eq!(daemon.logfile, MainLog::Syslog);
    assert_eq!(config.agent.unwrap().name, "web01");
    let bad = Overrides {
        loglevel: given("loud"),
        ..Overrides::default()
    };
    assert_eq!(
        load(&bad).unwrap_err().first().supervisor_text(),
        "invalid value for -e 'loud': bad logging level name 'loud'"
    );
    let nobody = Overrides {
        user: given("nosuch"),
        ..Overrides::default()
    };
    let errors = load(&nobody).unwrap_err();
    assert_eq!(errors.first().supervisor_text(), "Invalid user name nosuch");
    let own = "invalid value for -u 'nosuch': Invalid user name nosuch";
    assert_eq!(errors.first().fault().text, own);
}

#[test]
fn programs_know_the_server_they_can_reach() {
    let inet = "[inet_http_server:a]\nport=1\n[inet_http_server:b]\nport=h:2\n";
    let unix = "[unix_http_server]\nfile=%(here)s/s.sock\nchmod=0770\nchown=nobody:root\n";
    for (servers, url) in [
        (String::new(), None),
        (inet.to_owned(), Some("http://h:2")),
        (format!("{inet}{unix}"), Some("unix:///srv/s.sock")),
        (
            "[inet_http_server]\nport=*:9001\n".to_owned(),
            Some("http://localhost:9001"),
        ),
    ] {
        let config = load_text(&format!("{S}{servers}"), &FixedHost::default())
            .unwrap()
            .config;
        assert_eq!(config.server_url().as_deref(), url);
    }
}

#[test]
fn an_empty_name_with_an_empty_password_asks_for_nothing() {
    for (lines, is_asked) in [
        ("", false),
        ("username=\npassword=\n", false),
        ("username=\npassword=x\n", true),
        ("username=x\npassword=\n", true),
    ] {
        let text = format!("{S}[unix_http_server]\nfile=/s\n{lines}");
        let config = load_text(&text, &FixedHost::default()).unwrap().config;
        let credentials = &config.servers[0].credentials;
        assert_eq!(credentials.is_some(), is_asked, "{lines}");
    }
}

#[test]
fn streams_are_files_automatic_or_nothing() {
    let stdout = |lines: &str| {
        let text = format!("{S}{P}{lines}\n");
        let loaded = load_text(&text, &FixedHost::default()).unwrap();
        let process = loaded.config.groups[0].processes[0].clone();
        (process.stdout.log, process.stdout.syslog)
    };
    assert_eq!(stdout(""), (LogTarget::Auto, false));
    assert_eq!(stdout("stdout_logfile=auto"), (LogTarget::Auto, false));
    assert_eq!(stdout("stdout_logfile=None"), (LogTarget::Discard, false));
    assert_eq!(stdout("stdout_logfile=OFF"), (LogTarget::Discard, false));
    assert_eq!(stdout("stdout_logfile="), (LogTarget::Discard, false));
    assert_eq!(stdout("stdout_logfile=syslog"), (LogTarget::Discard, true));
    assert_eq!(
        stdout("stdout_logfile=~/x"),
        (LogTarget::File("/root/x".into()), false)
    );
    assert_eq!(
        stdout("stdout_logfile=100%%%%"),
        (LogTarget::File("/srv/100%".into()), false)
    );
}

#[test]
fn doubtful_log_settings_are_warned_of_in_supervisors_words() {
    let text =
        format!("{S}{P}redirect_stderr=true\nstderr_logfile=/tmp/x\nstdout_logfile_maxbytes=0\n");
    let loaded = load_text(&text, &FixedHost::default()).unwrap();
    let texts: Vec<_> = loaded
        .warnings
        .iter()
        .map(|warning| warning.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "For [program:x], AUTO logging used for stdout_logfile without rollover, set maxbytes > \
             0 to avoid filling up filesystem unintentionally",
            "For [program:x], redirect_stderr=true but stderr_logfile has also been set to a \
             filename, the filename has been ignored",
        ]
    );
    let process = &loaded.config.groups[0].processes[0];
    assert_eq!(process.stderr.log, LogTarget::Discard);
}

#[test]
fn the_old_spelling_of_syslog_is_warned_of_in_supervisors_words_once_for_a_stream() {
    let text = format!(
        "{S}{P}numprocs=2\nprocess_name=%(process_num)d\nstdout_logfile=Syslog\nstderr_logfile=NONE\n\
         stdout_logfile_maxbytes=0\n"
    );
    let loaded = load_text(&text, &FixedHost::default()).unwrap();
    let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "bad.conf:7: [program:x] stdout_logfile: For [program:x], stdout_logfile=syslog but this is \
             deprecated and will be removed.  Use stdout_syslog=true to enable syslog instead."
        ]
    );
}

#[test]
fn a_relative_log_of_a_program_is_where_the_agent_works_and_all_else_where_it_was_started() {
    let load = |lines: &str, overrides: &Overrides| {
        let text = format!(
            "{S}logfile=m.log\npidfile=m.pid\nchildlogdir=logs\n{lines}{P}stdout_logfile=x.log\n\
             stderr_logfile=sub/y.log\n"
        );
        // A file where another directory would have to be.
        let host = FixedHost::default().file("/other/sub", "");
        let file = Path::new("bad.conf");
        load_str(&text, file, overrides, Strictness::Lenient, &host)
    };
    let given = |text: &str| Some(text.to_owned());
    let (none, stays, moves) = (
        Overrides::default(),
        Overrides {
            nodaemon: Some(Flag),
            ..Overrides::default()
        },
        Overrides {
            directory: given("/opt"),
            ..Overrides::default()
        },
    );
    for (lines, overrides, directory) in [
        ("", &none, "/srv"),
        ("directory=/opt\n", &none, "/opt"),
        ("directory=opt\n", &none, "/srv/opt"),
        ("directory=/opt\nnodaemon=true\n", &none, "/srv"),
        ("directory=/other\n", &stays, "/srv"),
        ("directory=/other\n", &moves, "/opt"),
    ] {
        let config = load(lines, overrides).unwrap().config;
        let process = &config.groups[0].processes[0];
        let log = |name: &str| LogTarget::File(Path::new(directory).join(name));
        assert_eq!(process.stdout.log, log("x.log"), "{lines}");
        assert_eq!(process.stderr.log, log("sub/y.log"), "{lines}");
        let daemon = &config.supervisord;
        assert_eq!(daemon.logfile, MainLog::File("/srv/m.log".into()));
        assert_eq!(daemon.pidfile, Path::new("/srv/m.pid"));
        assert_eq!(daemon.childlogdir, Path::new("/srv/logs"));
    }
    let errors = load("directory=/other\n", &none).unwrap_err();
    assert_eq!(
        errors.first().fault().text,
        "The directory named as part of the path sub/y.log does not exist"
    );
}

#[test]
fn a_listeners_stdout_is_neither_captured_nor_published() {
    let text = format!(
        "{S}[eventlistener:e]\ncommand=e\nevents=TICK\nstdout_capture_maxbytes=1MB\n\
         stdout_events_enabled=true\nstderr_capture_maxbytes=1MB\n"
    );
    let config = load_text(&text, &FixedHost::default()).unwrap().config;
    let process = &config.groups[0].processes[0];
    assert_eq!(process.stdout.capture_max_bytes, ByteSize(0));
    assert!(!process.stdout.events_enabled);
    assert_eq!(process.stderr.capture_max_bytes, ByteSize(1 << 20));
}

#[test]
fn a_fastcgi_socket_belongs_to_the_programs_user() {
    let text = format!(
        "{S}[fcgi-program:f]\ncommand=f\nuser=nobody\nsocket=unix:///tmp/../run/%(program_name)s.sock\n\
         socket_backlog=5\n"
    );
    let config = load_text(&text, &FixedHost::default()).unwrap().config;
    assert_eq!(config.groups[0].kind, GroupKind::FastCgi);
    let socket = config.groups[0].processes[0].socket.as_ref().unwrap();
    let owner = Owner {
        uid: 65534,
        gid: Some(65534),
    };
    assert_eq!(
        socket,
        &FcgiSocket {
            address: FcgiAddress::Unix {
                path: "/run/f.sock".into(),
                owner: Some(owner),
                mode: Mode(0o700),
            },
            backlog: Some(5),
        }
    );
    assert_eq!(socket.url(), "unix:///run/f.sock");
}

#[test]
fn the_owner_of_a_socket_brings_no_group_along() {
    for (text, gid) in [("nobody", None), ("nobody:root", Some(0)), ("65534", None)] {
        let fcgi = format!("[fcgi-program:f]\ncommand=f\nsocket=unix:///f\nsocket_owner={text}\n");
        let unix = format!("[unix_http_server]\nfile=/s\nchown={text}\n");
        let config = load_text(&format!("{S}{fcgi}{unix}"), &FixedHost::default())
            .unwrap()
            .config;
        let expected = Some(Owner { uid: 65534, gid });
        let socket = config.groups[0].processes[0].socket.as_ref().unwrap();
        let FcgiAddress::Unix { owner, .. } = &socket.address else {
            panic!("{socket:?}");
        };
        assert_eq!(*owner, expected, "{text}");
        let crate::HttpAddress::Unix { owner, .. } = &config.servers[0].address else {
            panic!("{:?}", config.servers);
        };
        assert_eq!(*owner, expected, "{text}");
    }
}

#[test]
fn what_supervisor_does_not_have_is_off_until_asked_for() {
    let process = |lines: &str| {
        let text = format!("{S}{P}{lines}\n");
        let loaded = load_text(&text, &FixedHost::default()).unwrap();
        loaded.config.groups[0].processes[0].clone()
    };
    let plain = process("");
    assert_eq!(plain.startretries, StartRetries::Times(3));
    assert_eq!(
        (plain.restart_backoff_max, plain.restart_window),
        (None, None)
    );
    assert!(!plain.stop_leaves_daemons);
    assert!(plain.rlimits.is_empty() && plain.unix_group.is_none() && plain.log_level.is_none());
    let asked = process(
        "startretries=-1\nrestart_backoff_max=30s\nrestart_window=5/10m\nrlimit_nofile=64:128\n\
         rlimit_core=unlimited\ngroup=nogroup\nloglevel=debug\nstop_leaves_daemons=yes",
    );
    assert!(asked.stop_leaves_daemons);
    assert_eq!(asked.startretries, StartRetries::Forever);
    assert_eq!(asked.restart_backoff_max, Some(Duration::from_secs(30)));
    assert_eq!(asked.restart_window.map(|window| window.count), Some(5));
    let limits: Vec<_> = asked.rlimits.iter().map(|limit| limit.resource).collect();
    assert_eq!(limits, [RlimitResource::Core, RlimitResource::OpenFiles]);
    assert_eq!(asked.log_level, Some(LogLevel::Debug));
}

#[test]
fn attempts_without_end_need_a_pause_and_a_window_a_count_that_can_be_kept() {
    let load = |lines: &str| load_text(&format!("{S}{P}{lines}\n"), &FixedHost::default());
    for max in ["0", "0s", "500ms"] {
        let text = format!("startretries=-1\nrestart_backoff_max={max}");
        let errors = load(&text).unwrap_err();
        let said = errors.first().render();
        assert!(
            said.contains(":6: [program:x] restart_backoff_max: "),
            "{said}"
        );
        assert!(said.contains(&format!("found: {max}")), "{said}");
        assert!(said.contains("accepted: at least 1s"), "{said}");
    }
    let bounded = load("startretries=3\nrestart_backoff_max=0").unwrap();
    let process = &bounded.config.groups[0].processes[0];
    assert_eq!(process.restart_backoff_max, None);
    assert!(load("startretries=-1\nrestart_backoff_max=1s").is_ok());
    assert!(load("startretries=-1").is_ok());
    let errors = load("restart_window=101/10m").unwrap_err();
    let said = errors.first().render();
    assert!(
        said.contains(":5: [program:x] restart_window: 101 restarts"),
        "{said}"
    );
    assert!(
        said.contains("found: 101/10m\n  accepted: COUNT/DURATION with a count from 1 to 100"),
        "{said}"
    );
}

#[test]
fn absurd_numbers_of_processes_are_refused() {
    let name = "process_name=%(process_num)d";
    assert_eq!(
        refusal(&format!("{S}{P}{name}\nnumprocs=1000000000\n")),
        format!("1000000000 is above upper bound (100000){IN}")
    );
    let none = load_text(&format!("{S}{P}numprocs=0\n"), &FixedHost::default()).unwrap();
    assert!(none.config.groups[0].processes.is_empty());
}

#[test]
fn a_file_that_two_streams_rotate_is_warned_of() {
    let text = format!(
        "{S}[program:a]\ncommand=a\nstdout_logfile=/tmp/l\n[program:b]\ncommand=b\n\
         stderr_logfile=/tmp/l\n[program:c]\ncommand=c\nstdout_logfile=/tmp/l\nstdout_logfile_maxbytes=0\n"
    );
    let loaded = load_text(&text, &FixedHost::default()).unwrap();
    let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["[program:b] stderr_logfile: `/tmp/l` is written by stdout of a and by stderr of b"]
    );
}

#[test]
fn what_is_no_file_has_nothing_to_rotate() {
    let text = format!("{S}{P}stdout_logfile=/dev/null\nstderr_logfile=/dev/null\n");
    let loaded = load_text(&text, &FixedHost::default()).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_command_that_a_comment_cut_off_is_warned_of() {
    let text = format!("{S}[program:c]\ncommand=/bin/sh -c \"echo one;two #three\" ; trailing\n");
    let loaded = load_text(&text, &FixedHost::default()).unwrap();
    assert_eq!(
        loaded.config.groups[0].processes[0].command,
        "/bin/sh -c \"echo one;two"
    );
    assert!(loaded.warnings[0].text.contains("No closing quotation"));
}

#[test]
fn a_fastcgi_program_keeps_its_socket_in_a_group() {
    let text = format!(
        "{S}[group:g]\nprograms=f,p\n[fcgi-program:f]\ncommand=f\nsocket=tcp://localhost:9000\n\
         [program:p]\ncommand=p\n"
    );
    let config = load_text(&text, &FixedHost::default()).unwrap().config;
    let urls: Vec<_> = config
        .processes()
        .map(|process| {
            (
                process.id.to_string(),
                process.socket.as_ref().map(FcgiSocket::url),
            )
        })
        .collect();
    assert_eq!(
        urls,
        [
            ("g:f".to_owned(), Some("tcp://localhost:9000".to_owned())),
            ("g:p".to_owned(), None),
        ]
    );
}
