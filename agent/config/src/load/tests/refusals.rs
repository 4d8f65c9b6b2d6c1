//! How whole configurations are refused, in Supervisor's words.

use super::{IN, P, S, refusal};

#[test]
fn refusals_inside_a_program_have_supervisors_text_and_suffix() {
    for (line, text) in [
        ("autostart=maybe", "not a valid boolean value: 'maybe'"),
        ("stopsignal=FOO", "value 'FOO' is not a valid signal name"),
        ("stopsignal=999", "value '999' is not a valid signal number"),
        ("exitcodes=0,256", "not a valid list of exit codes: '0,256'"),
        (
            "autorestart=sometimes",
            "invalid 'autorestart' value 'sometimes'",
        ),
        (
            "numprocs=2",
            "%(process_num) must be present within process_name when numprocs > 1",
        ),
        (
            "stopasgroup=true\nkillasgroup=false",
            "Cannot set stopasgroup=true and killasgroup=false",
        ),
        ("user=nosuchuser", "Invalid user name nosuchuser"),
        ("user=99999", "Invalid user id 99999"),
        ("umask=9", "9 can not be converted to an octal type"),
        (
            "stdout_logfile=/nonexistent/x.log",
            "The directory named as part of the path /nonexistent/x.log does not exist",
        ),
        (
            "environment=A",
            "Unexpected end of key/value pairs in value 'A'",
        ),
        (
            "environment=A=\"1\" B=\"2\"",
            "Unexpected end of key/value pairs in value 'A=\"1\" B=\"2\"'",
        ),
        ("environment=A=\"1", "No closing quotation"),
        (
            "startsecs=1.5",
            "invalid literal for int() with base 10: '1.5'",
        ),
        (
            "stdout_logfile_maxbytes=5XB",
            "invalid literal for int() with base 10: '5xb'",
        ),
    ] {
        assert_eq!(refusal(&format!("{S}{P}{line}\n")), format!("{text}{IN}"));
    }
    assert_eq!(
        refusal(&format!("{S}[program:x]\nautostart=false\n")),
        format!("program section program:x does not specify a command{IN}")
    );
}

#[test]
fn refusals_outside_programs_have_supervisors_text_alone() {
    let fcgi = "[fcgi-program:f]\ncommand=/bin/cat\n";
    let listener = "[eventlistener:e]\ncommand=/bin/cat\n";
    let inet = "[inet_http_server]\nport=127.0.0.1:19001\n";
    for (rest, text) in [
        (
            "[program:x y]\ncommand=/bin/true",
            "Invalid name: 'x y' because of character: ' '",
        ),
        (
            "[program:x:y]\ncommand=/bin/true",
            "Invalid name: 'x:y' because of character: ':'",
        ),
        (
            "[group:g]\nprograms=nope",
            "[group:g] names unknown program or fcgi-program nope",
        ),
        (
            "[program:p]\ncommand=p\n[fcgi-program:p]\ncommand=p\n[group:g]\nprograms=p",
            "[group:g] name p is ambiguous (exists as program and fcgi-program)",
        ),
        (
            listener,
            "[eventlistener:e] section requires an \"events\" line",
        ),
        (
            &format!("{listener}events=FOO"),
            "Unknown event type FOO in [eventlistener:e] events",
        ),
        (
            &format!("{listener}events=EVENT\nbuffer_size=0"),
            "[eventlistener:e] section sets invalid buffer_size (0)",
        ),
        (
            &format!("{listener}events=EVENT\nredirect_stderr=true"),
            "[eventlistener:e] section sets redirect_stderr=true but this is not allowed because \
             it will interfere with the eventlistener protocol",
        ),
        (fcgi, "[fcgi-program:f] section requires a \"socket\" line"),
        (
            &format!("{fcgi}socket=tcp://localhost:9999\nsocket_mode=0700"),
            "socket_owner and socket_mode params should only be used with a Unix domain socket in \
             [fcgi-program:f] socket",
        ),
        (
            &format!("{fcgi}socket=tcp://localhost:9999\nsocket_backlog=0"),
            "Invalid socket_backlog value 0",
        ),
        (
            &format!("{fcgi}socket=unix:///s\nsocket_owner=nosuch"),
            "Invalid socket_owner value nosuch",
        ),
        (
            &format!("{fcgi}socket=unix:///s\nsocket_mode=9"),
            "Invalid socket_mode value 9",
        ),
        (
            "[inet_http_server]",
            "section [inet_http_server] has no port value",
        ),
        (
            "[inet_http_server]\nport=127.0.0.1:99999",
            "99999 is above upper bound (65535)",
        ),
        (
            &format!("{inet}username=u"),
            "Section [inet_http_server] contains incomplete authentication: If a username or a \
             password is specified, both the username and password must be specified",
        ),
        (
            "[unix_http_server]",
            "section [unix_http_server] has no file value",
        ),
        (
            "[unix_http_server]\nfile=/s\nchmod=9",
            "Invalid chmod value 9",
        ),
        (
            "[unix_http_server]\nfile=/s\nchown=nosuch",
            "Invalid sockchown value nosuch",
        ),
        (
            "[include]",
            ".ini file has [include] section, but no files setting",
        ),
        (
            "[rpcinterface:foo]",
            "section [rpcinterface:foo] does not specify a supervisor.rpcinterface_factory",
        ),
    ] {
        assert_eq!(refusal(&format!("{S}{rest}\n")), text);
    }
    for (whole, text) in [
        (
            "[program:x]\ncommand=x\n",
            ".ini file does not include supervisord section",
        ),
        (
            "[supervisord]\nloglevel=loud\n",
            "bad logging level name 'loud'",
        ),
        (
            "[supervisord]\nchildlogdir=/nonexistent\n",
            "/nonexistent is not an existing directory",
        ),
        (
            "[a]\nfoo\n",
            "Source contains parsing errors: 'bad.conf'\n\t[line  2]: 'foo\\n'",
        ),
        (
            "foo\n",
            "File contains no section headers.\nfile: 'bad.conf', line: 1\n'foo\\n'",
        ),
    ] {
        assert_eq!(refusal(whole), text);
    }
}

#[test]
fn a_bad_expansion_names_the_option_and_what_is_available() {
    let text = refusal(&format!("{S}{P}directory=%(nope)s\n"));
    assert_eq!(
        text,
        format!(
            "Format string '%(nope)s' for 'program:x.directory' contains names ('nope') which cannot \
             be expanded. Available names: ENV_HOME, group_name, here, host_node_name, numprocs, \
             process_num, program_name{IN}"
        )
    );
    let text = refusal(&format!("{S}[program:x]\ncommand=/bin/date +%Y\n"));
    assert_eq!(
        text,
        format!(
            "Format string '/bin/date +%Y' for 'program:x.command' is badly formatted: unsupported \
             format character 'Y' (0x59) at index 12{IN}"
        )
    );
}

#[test]
fn a_socket_that_could_not_be_bound_is_refused_with_its_key() {
    let long = "x".repeat(crate::LONGEST_SOCKET_PATH);
    for key in ["socket", "keeper_socket"] {
        let text = refusal(&format!("[agent]\n{key}=/{long}\n"));
        assert_eq!(text, format!("the path of a socket is too long: '/{long}'"));
    }
}
