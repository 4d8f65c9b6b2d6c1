//! Nothing that a file may hold makes this crate panic, loop or eat memory.

use std::path::Path;

use proptest::prelude::*;
use rsv_config::host::FixedHost;
use rsv_config::{Overrides, Strictness, dialect, environment, load_str, split_command};

/// Characters that mean something somewhere, among others.
fn odd_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => Just("%(process_num)"),
        1 => Just("%(here)s"),
        1 => Just("%(ENV_HOME)s"),
        1 => Just("%(program_name)s_%(process_num)02d"),
        2 => Just("%"),
        1 => Just("99999999999999999999"),
        1 => Just("-1"),
        1 => Just("="),
        1 => Just(","),
        1 => Just(":"),
        1 => Just("\""),
        1 => Just("'"),
        1 => Just("\\"),
        1 => Just("~"),
        1 => Just("["),
        1 => Just("*"),
        1 => Just("d"),
        1 => Just("s"),
        1 => Just("\u{e9}\u{1f600}"),
        1 => Just("\0"),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

const SECTIONS: &[&str] = &[
    "supervisord",
    "supervisorctl",
    "agent",
    "include",
    "processcontrol",
    "program:x",
    "program:y",
    "fcgi-program:x",
    "eventlistener:e",
    "group:g",
    "unix_http_server",
    "inet_http_server:b",
    "rpcinterface:supervisor",
    "ctlplugin:c",
    "DEFAULT",
    "nonsense",
];

const KEYS: &[&str] = &[
    "command",
    "process_name",
    "numprocs",
    "numprocs_start",
    "environment",
    "directory",
    "stdout_logfile",
    "stdout_logfile_maxbytes",
    "priority",
    "stopsignal",
    "exitcodes",
    "user",
    "umask",
    "rlimit_core",
    "restart_window",
    "restart_backoff_max",
    "stop_leaves_daemons",
    "programs",
    "files",
    "port",
    "file",
    "chown",
    "username",
    "socket",
    "events",
    "controller",
    "labels",
    "name",
    "state_dir",
    "logfile",
    "pidfile",
    "serverurl",
];

fn whole_file() -> impl Strategy<Value = String> {
    let key = (prop::sample::select(KEYS), odd_text())
        .prop_map(|(key, value)| format!("{key}={value}\n"));
    let section = (
        prop::sample::select(SECTIONS),
        prop::collection::vec(key, 0..6),
    )
        .prop_map(|(name, keys)| format!("[{name}]\n{}", keys.concat()));
    prop::collection::vec(section, 0..6).prop_map(|sections| sections.concat())
}

/// Seeds are printed by a failure; files beside the tests would only be in the way.
fn without_files() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(without_files())]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(dialect::parse_bytes(&bytes));
    }

    #[test]
    fn any_text_is_split_or_refused(text in ".{0,60}") {
        drop(split_command(&text));
        drop(environment::parse(&text));
        drop(dialect::parse(&format!("[a]\nk={text}\n")));
    }

    #[test]
    fn any_value_of_any_key_is_taken_or_refused(text in whole_file()) {
        let host = FixedHost::default();
        let loaded = load_str(
            &text,
            Path::new("a.conf"),
            &Overrides::default(),
            Strictness::Lenient,
            &host,
        );
        if let Err(errors) = loaded {
            prop_assert!(!errors.first().supervisor_text().is_empty());
            prop_assert!(!errors.render().contains('\0'));
        }
    }
}
