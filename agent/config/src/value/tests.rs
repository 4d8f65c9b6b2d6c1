//! Tables of what each value type takes and how it words its refusal.

use std::time::Duration;

use super::*;

#[test]
fn sizes_take_suffixes_in_any_case_and_refuse_bare_letters() {
    for (text, bytes) in [
        ("0", 0),
        ("50MB", 50 << 20),
        ("1 kb", 1 << 10),
        ("2Gb", 2 << 30),
        ("1_000", 1000),
        ("-1", 0),
    ] {
        assert_eq!(byte_size(text).unwrap(), ByteSize(bytes), "{text}");
    }
    for (text, quoted) in [("5XB", "5xb"), ("1K", "1k"), ("1.5MB", "1.5"), ("", "")] {
        assert_eq!(
            byte_size(text).unwrap_err().text,
            format!("invalid literal for int() with base 10: '{quoted}'")
        );
    }
}

#[test]
fn integers_are_python_literals() {
    for (text, number) in [(" 7 ", 7), ("+1_0", 10), ("-3", -3), ("007", 7)] {
        assert_eq!(integer(text).unwrap(), number);
    }
    for text in ["", "1.5", "1__0", "_1", "1_", "0x1", "--1", "+"] {
        assert!(integer(text).is_err(), "{text}");
    }
}

#[test]
fn octal_takes_a_prefix_and_refuses_nine() {
    assert_eq!(octal("022").unwrap(), Mode(0o22));
    assert_eq!(octal("0o22").unwrap(), Mode(0o22));
    assert_eq!(
        octal("9").unwrap_err().text,
        "9 can not be converted to an octal type"
    );
}

#[test]
fn signals_are_known_by_name_and_number() {
    assert_eq!(signal("term").unwrap(), Signal::TERM);
    assert_eq!(signal("SIGKILL").unwrap(), Signal::KILL);
    assert_eq!(signal("10").unwrap().to_string(), "SIGUSR1");
    assert_eq!(
        signal("FOO").unwrap_err().text,
        "value 'FOO' is not a valid signal name"
    );
    for text in ["999", "0", "32"] {
        assert_eq!(
            signal(text).unwrap_err().text,
            format!("value '{text}' is not a valid signal number")
        );
    }
}

#[test]
fn exit_codes_may_be_empty_and_stop_at_255() {
    assert_eq!(exit_codes("").unwrap(), ExitCodes::default());
    assert_eq!(exit_codes("0, 2").unwrap(), ExitCodes::new([0, 2]));
    assert_eq!(
        exit_codes("0,256").unwrap_err().text,
        "not a valid list of exit codes: '0,256'"
    );
}

#[test]
fn retries_below_minus_one_end_at_the_first_failure() {
    assert_eq!(start_retries("3").unwrap(), StartRetries::Times(3));
    assert_eq!(start_retries("-1").unwrap(), StartRetries::Forever);
    assert_eq!(start_retries("-2").unwrap(), StartRetries::Times(0));
}

#[test]
fn a_restart_window_is_a_count_and_a_duration() {
    assert_eq!(
        restart_window("5/10m").unwrap(),
        RestartWindow {
            count: 5,
            within: Duration::from_secs(600)
        }
    );
    for text in ["5", "0/10m", "5/0", "5/x", "/1"] {
        assert!(restart_window(text).is_err(), "{text}");
    }
    assert_eq!(restart_window("100/1m").unwrap().count, 100);
    let above = restart_window("101/1m").unwrap_err();
    assert_eq!(
        above.text,
        "101 restarts are above upper bound (100) of a restart window"
    );
}

#[test]
fn limits_are_one_bound_or_two() {
    let parse = |text| rlimit(RlimitResource::OpenFiles, text);
    let both = parse("1024").unwrap();
    assert_eq!(
        (both.soft, both.hard),
        (RlimitValue::Limit(1024), RlimitValue::Limit(1024))
    );
    let open = parse("1:unlimited").unwrap();
    assert_eq!(open.hard, RlimitValue::Unlimited);
    for text in ["2:1", "x", "-1", "1MB"] {
        assert!(parse(text).is_err(), "{text}");
    }
    let core = rlimit(RlimitResource::Core, "1MB").unwrap();
    assert_eq!(core.soft, RlimitValue::Limit(1 << 20));
}

#[test]
fn addresses_are_split_at_the_last_colon() {
    assert_eq!(inet_address("9001").unwrap(), (None, 9001));
    assert_eq!(inet_address("*:9001").unwrap(), (None, 9001));
    assert_eq!(
        inet_address("Host:9001").unwrap(),
        (Some("host".into()), 9001)
    );
    for (text, error) in [
        ("abc", "not a valid port number: 'abc' "),
        ("h:", "no port number specified in 'h:'"),
        ("h:99999", "99999 is above upper bound (65535)"),
        ("h:0", "0 is below lower bound (1)"),
        ("h:x", "invalid literal for int() with base 10: 'x'"),
    ] {
        assert_eq!(inet_address(text).unwrap_err().text, error);
    }
}

#[test]
fn names_are_trimmed_and_refuse_separators() {
    assert_eq!(name(" a ").unwrap(), "a");
    assert_eq!(name(" ").unwrap_err().text, "Invalid name: ''");
    assert!(name("a\u{1b}[31m").is_err());
    assert_eq!(
        name("x y").unwrap_err().text,
        "Invalid name: 'x y' because of character: ' '"
    );
}
