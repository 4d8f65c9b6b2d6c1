//! Real files on this machine: includes, merging, and what the command line sees.

use std::fs;
use std::path::Path;

use rsv_config::host::SystemHost;
use rsv_config::{
    AutoRestart, ConfigErrors, HttpAddress, Loaded, LogTarget, Overrides, Process, StartRetries,
    Strictness, Warning, WarningKind, client_view, load,
};
use tempfile::TempDir;

/// A directory with the given files; `@` in a text stands for the directory.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().expect("a temporary directory can be made");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a parent"))
            .expect("a directory can be made");
        let root = directory
            .path()
            .to_str()
            .expect("temporary paths are UTF-8");
        fs::write(path, text.replace('@', root)).expect("a file can be written");
    }
    directory
}

fn read(directory: &TempDir, file: &str) -> Result<Loaded, ConfigErrors> {
    load(
        &directory.path().join(file),
        &Overrides::default(),
        Strictness::Lenient,
        &SystemHost::new(),
    )
}

fn process<'a>(loaded: &'a Loaded, name: &str) -> &'a Process {
    let mut processes = loaded.config.processes();
    processes
        .find(|process| process.id.name == name)
        .expect("the process is there")
}

/// Written the way people write: tabs before comments, blanks around `=`, a key given twice.
const PROGRAM: &str = "\
[program:one]\t\t; the name
directory=/\t\t\t; where it starts
command=/bin/cat -u\t; what is run
user=root
autostart = true
startsecs = 5\t\t; up this long counts as started
autorestart=true\t# again after a crash
startretries=3
stderr_logfile=@/log/one.err\t\t; errors
stdout_logfile=@/log/one.out
stdout_logfile_maxbytes = 1MB\t; size
stdout_logfile_backups = 10
killasgroup=true\t\t\t\t\t\t ; the group too
stopasgroup=true      ; first
stopasgroup=true      ; and again
group=root
loglevel=info

redirect_stderr = false ; a blank line stands above
";

const MAIN: &str = "\
[unix_http_server]
file = @/run/s.sock

# a page, too
[inet_http_server]
# 9001, say
port = 127.0.0.1:9001
username = admin
password = secret

[supervisord]
logfile=@/log/main.log
pidfile=@/run/s.pid

; the interface
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface


[supervisorctl]
serverurl=unix://@/run/s.sock

[processcontrol]
maxprocs=100      ; at once

[include]
files = @/conf/*.conf
";

#[test]
fn files_as_people_write_them_load_without_a_warning() {
    let directory = directory(&[
        ("main.conf", MAIN),
        ("conf/one.conf", PROGRAM),
        ("log/x", ""),
        ("run/x", ""),
    ]);
    let loaded = read(&directory, "main.conf").unwrap();
    assert_eq!(loaded.warnings, Vec::<Warning>::new());
    assert_eq!(loaded.config.max_processes, Some(100));
    let one = process(&loaded, "one");
    assert_eq!(one.command, "/bin/cat -u");
    assert_eq!(one.directory.as_deref(), Some(Path::new("/")));
    assert_eq!(one.startsecs.as_secs(), 5);
    assert_eq!(one.autorestart, AutoRestart::Always);
    assert_eq!(one.startretries, StartRetries::Times(3));
    assert_eq!(one.stdout.max_bytes.bytes(), 1 << 20);
    assert_eq!(
        one.stdout.log,
        LogTarget::File(directory.path().join("log/one.out"))
    );
    assert_eq!(one.unix_group.as_ref().map(|group| group.gid), Some(0));
    assert!(one.stopasgroup && one.killasgroup && !one.redirect_stderr);
}

#[test]
fn includes_are_read_sorted_and_later_files_override() {
    let directory = directory(&[
        (
            "main.conf",
            "[supervisord]\n[program:dup]\ncommand=/bin/true\nautostart=false\n\
             [program:dup]\ncommand=/bin/false\n[include]\nfiles = inc/*.ini none/*.ini\n",
        ),
        (
            "inc/2.ini",
            "[program:b]\ncommand=/bin/echo %(here)s\nautostart=false\n",
        ),
        (
            "inc/1.ini",
            "[program:b]\ncommand=/bin/overridden\n[program:a]\ncommand=/bin/true\n[include]\nfiles=/x\n",
        ),
    ]);
    let loaded = read(&directory, "main.conf").unwrap();
    let b = process(&loaded, "b");
    assert_eq!(
        b.command,
        format!("/bin/echo {}/inc", directory.path().display())
    );
    let dup = process(&loaded, "dup");
    assert_eq!((dup.command.as_str(), dup.autostart), ("/bin/false", false));
    let included: Vec<_> = loaded
        .config
        .included
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(included, ["1.ini", "2.ini"]);
    let pattern = directory.path().join("none/*.ini");
    assert_eq!(
        loaded.warnings[0].text,
        format!("No file matches via include \"{}\"", pattern.display())
    );
    assert_eq!(loaded.warnings[0].kind, WarningKind::Advice);
}

#[test]
fn an_error_in_an_included_file_names_that_file_and_its_line() {
    let directory = directory(&[
        ("main.conf", "[supervisord]\n[include]\nfiles=p.conf\n"),
        (
            "p.conf",
            "[program:p]\ncommand=/bin/true\n\nautostart=maybe\n",
        ),
    ]);
    let errors = read(&directory, "main.conf").unwrap_err();
    let file = directory.path().join("p.conf");
    let file = file.display();
    assert_eq!(
        errors.first().supervisor_text(),
        format!("not a valid boolean value: 'maybe' in section 'program:p' (file: '{file}')")
    );
    assert_eq!(
        errors.render(),
        format!(
            "{file}:4: [program:p] autostart: not a valid boolean value: 'maybe'\n  found: maybe\n  \
             accepted: yes, true, on, 1 or no, false, off, 0"
        )
    );
}

#[test]
fn a_missing_file_has_supervisors_text() {
    let errors = load(
        Path::new("/nonexistent.conf"),
        &Overrides::default(),
        Strictness::Lenient,
        &SystemHost::new(),
    )
    .unwrap_err();
    assert_eq!(
        errors.render_supervisor("rsv-agent"),
        "Error: could not find config file /nonexistent.conf\nFor help, use rsv-agent -h"
    );
}

#[test]
fn the_command_line_finds_the_agent_whatever_the_programs_are() {
    let directory = directory(&[
        ("main.conf", MAIN),
        ("conf/broken.conf", "[program:x]\nautostart=maybe\n"),
        ("conf/noise.conf", "no ini at all\n"),
        ("run/x", ""),
    ]);
    let view = client_view(&directory.path().join("main.conf"), &SystemHost::new()).unwrap();
    let run = directory.path().join("run");
    assert_eq!(view.locations.socket, run.join("s.rsv/agent.sock"));
    assert_eq!(view.locations.private_dir, Some(run.join("s.rsv")));
    assert_eq!(
        view.supervisorctl.unwrap().server_url,
        format!("unix://{}/s.sock", run.display())
    );
    assert_eq!(view.servers.len(), 2);
    assert!(matches!(
        view.servers[0].address,
        HttpAddress::Inet { port: 9001, .. }
    ));
}

#[test]
fn the_command_line_tells_of_a_line_that_does_not_belong_also_among_programs() {
    let directory = directory(&[("s.conf", "[supervisord]\n[program:x]\ncommand\n")]);
    let errors = client_view(&directory.path().join("s.conf"), &SystemHost::new()).unwrap_err();
    assert_eq!(errors.first().fault().place.line, Some(3));
}

#[test]
fn daemon_and_command_line_agree_on_the_locations() {
    let agent = "[agent]\nname=web01\ncontroller=c1:1, [::1]:2, c3\nlabels = role=web, dc=fra\n\
        state_dir=@/state\nsocket=@/a.sock\nkeeper_socket=@/k.sock\n";
    let directory = directory(&[
        ("plain.conf", "[supervisord]\npidfile=@/p.pid\n"),
        ("agent.conf", "[supervisord]\n[include]\nfiles=a.inc\n"),
        ("a.inc", agent),
    ]);
    for file in ["plain.conf", "agent.conf"] {
        let loaded = read(&directory, file).unwrap();
        let view = client_view(&directory.path().join(file), &SystemHost::new()).unwrap();
        assert_eq!(view.locations, loaded.config.locations, "{file}");
    }
    let loaded = read(&directory, "agent.conf").unwrap();
    let agent = loaded.config.agent.unwrap();
    let controllers: Vec<String> = agent.controllers.iter().map(ToString::to_string).collect();
    assert_eq!(controllers, ["c1:1", "[::1]:2", "c3:7443"]);
    assert_eq!(agent.name, "web01");
    assert_eq!(agent.labels["role"], "web");
    assert_eq!(
        loaded.config.locations.socket,
        directory.path().join("a.sock")
    );
}
