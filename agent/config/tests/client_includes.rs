//! What the command line reads of the files that a configuration includes.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use rsv_config::host::SystemHost;
use rsv_config::{ClientView, client_view, main_view};

/// Far more than it takes to read two files.
const PATIENCE: Duration = Duration::from_secs(30);

const MAIN: &str = "[supervisord]\npidfile = @/s.pid\n[supervisorctl]\nserverurl = unix://@/s.sock\n\
                    [include]\nfiles = inc/*.conf\n";

/// A main file, an included one that says where the agent is, and between them a pipe that nobody writes to.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let at = directory.path();
    let root = at.to_str().expect("temporary paths are UTF-8");
    let write = |name: &str, text: &str| {
        fs::write(at.join(name), text.replace('@', root)).expect("a file can be written");
    };
    fs::create_dir(at.join("inc")).expect("a directory can be made");
    write("s.conf", MAIN);
    write("inc/b.conf", "[agent]\nsocket = @/a.sock\n");
    nix::unistd::mkfifo(&at.join("inc/a.conf"), Mode::S_IRWXU).expect("a pipe can be made");
    directory
}

/// What [`client_view`] gives, of which nothing may hold it up.
fn viewed(file: &Path) -> ClientView {
    let (done, awaited) = mpsc::channel();
    let file = file.to_owned();
    thread::spawn(move || {
        let view = client_view(&file, &SystemHost::new());
        done.send(view).is_ok()
    });
    let view = awaited.recv_timeout(PATIENCE);
    view.expect("nothing holds it up")
        .expect("the configuration is in order")
}

#[test]
fn a_pipe_among_the_included_files_is_passed_over() {
    let directory = directory();
    let view = viewed(&directory.path().join("s.conf"));
    assert_eq!(view.locations.socket, directory.path().join("a.sock"));
}

#[test]
fn the_main_file_alone_says_what_supervisorctl_would_know() {
    let directory = directory();
    let at = directory.path();
    let view = main_view(&at.join("s.conf"), &SystemHost::new()).unwrap();
    assert_eq!(view.locations.socket, at.join("s.rsv/agent.sock"));
    let url = view.supervisorctl.map(|section| section.server_url);
    assert_eq!(url, Some(format!("unix://{}/s.sock", at.display())));
}
