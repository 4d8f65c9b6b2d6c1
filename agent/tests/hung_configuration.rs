//! The agent while its configuration cannot be read to the end, as on a disk that hangs. A FIFO among the
//! included files stands in for one: whoever opens it waits for a writer.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[expect(dead_code, reason = "each test file uses its part of the host")]
#[path = "host_support/host.rs"]
mod host;

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;

use host::{Host, eventually, is_alive};
use nix::sys::stat::Mode;
use rsv_proto::wire;
use rustix::process::Signal;

const PROGRAM: &str = "[include]\nfiles = inc/*.conf\n\
                       [program:app]\ncommand = /bin/sleep 1000\nstartsecs = 0\n";

/// An agent whose program is up, and whose configuration hangs from now on.
struct Hung {
    host: Host,
    app: u32,
}

impl Drop for Hung {
    /// An agent that waits for its configuration must not outlive a test either.
    fn drop(&mut self) {
        release(&self.host);
    }
}

async fn hung() -> Hung {
    let mut host = Host::new(PROGRAM);
    fs::create_dir(host.path("inc")).unwrap();
    host.start().await;
    let app = host.up("app").await;
    nix::unistd::mkfifo(&host.path("inc/x.conf"), Mode::S_IRWXU).unwrap();
    Hung { host, app }
}

/// Asks for a restart, and comes back when that was heard.
async fn hang_up(host: &Host) {
    host.signal(Signal::HUP);
    said(host, "received SIGHUP indicating restart request").await;
}

async fn said(host: &Host, line: &str) {
    eventually(line, async || host.log().contains(line)).await;
}

/// Lets an agent read on that waits: the file is gone, and was empty. Whether one waited.
fn release(host: &Host) -> bool {
    let path = host.path("inc/x.conf");
    let mut options = File::options();
    let Ok(_writer) = options
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
    else {
        return false;
    };
    fs::remove_file(path).unwrap();
    true
}

/// The agent ends by itself although its configuration hangs, and its program with it.
async fn check_end(mut hung: Hung) {
    let agent = hung.host.agent.as_mut().unwrap();
    let mut status = None;
    eventually("the agent's end", async || {
        status = agent.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success(), "{status:?}");
    assert!(!is_alive(hung.app));
    hung.host.agent = None;
}

#[tokio::test]
async fn signals_are_heard_while_the_configuration_of_a_restart_is_read() {
    let hung = hung().await;
    let host = &hung.host;
    hang_up(host).await;
    host.signal(Signal::TERM);
    check_end(hung).await;
}

#[tokio::test]
async fn a_second_restart_is_ignored_while_the_configuration_is_read_and_logs_are_reopened() {
    let hung = hung().await;
    let host = &hung.host;
    hang_up(host).await;
    host.signal(Signal::HUP);
    said(host, "SIGHUP is ignored: the configuration is being read").await;
    assert_eq!(host.log().matches("received SIGHUP").count(), 1);
    fs::rename(host.path("agent.log"), host.path("former.log")).unwrap();
    host.signal(Signal::USR2);
    said(host, "supervisord logreopen").await;
    host.signal(Signal::INT);
    check_end(hung).await;
}

#[tokio::test]
async fn a_shutdown_that_is_asked_for_waits_neither_for_a_restart_nor_for_a_reread() {
    let hung = hung().await;
    let host = &hung.host;
    let mut asking = host.client().await;
    let reread = tokio::spawn(async move { asking.reread(wire::RereadRequest::default()).await });
    hang_up(host).await;
    let mut client = host.client().await;
    let answer = client.shutdown(wire::ShutdownRequest {}).await.unwrap();
    assert!(!answer.into_inner().shutting_down);
    check_end(hung).await;
    reread.abort();
}

#[tokio::test]
async fn the_restart_comes_when_the_configuration_is_read() {
    let hung = hung().await;
    let host = &hung.host;
    hang_up(host).await;
    eventually("somebody who reads", async || release(host)).await;
    eventually("the end of the former program", async || {
        !is_alive(hung.app)
    })
    .await;
    assert_ne!(host.up("app").await, hung.app);
}
