//! The pages in a real browser: what a person sees and does.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rsv_tests::{
    browser::{Browser, axe},
    eventually::{PATIENCE, eventually, within},
    fleet::free_port,
    host::Host,
};
use serde_json::Value;
use tempfile::TempDir;

/// WebDriver's names of keys.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

const PROGRAMS: &str = "\
[inet_http_server]\nport = 127.0.0.1:{port}\n\
[program:api]\ncommand = /bin/sleep 600\nnumprocs = 2\n\
process_name = %(program_name)s_%(process_num)02d\n\
[program:billing]\ncommand = /bin/sh -c \"echo 'a <b>bill</b>'; exec sleep 600\"\n\
[program:import]\ncommand = /bin/sh -c \"exit 3\"\nstartretries = 0\n\
[program:mailer]\ncommand = /usr/local/bin/no-such-mailer --queue default\n\
[program:nightly]\ncommand = /bin/sleep 600\nautostart = false\nstartsecs = 0\n\
[program:report]\ncommand = /bin/sh -c \"exit 1\"\nstartsecs = 0\nautorestart = false\n";

struct Rig {
    browser: Browser,
    host: Host,
    address: String,
    _directory: TempDir,
}

/// Shows what is at an address as `/under/`, and nothing besides; where.
fn proxy(address: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("its address");
    let address = address.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&address).expect("the server");
            thread::spawn(move || pass_on(client, server));
        }
    });
    place
}

/// One request and its answer.
fn pass_on(client: TcpStream, mut server: TcpStream) {
    let mut from_client = BufReader::new(client);
    let mut line = String::new();
    // A browser opens connections before it has a use for them, and some it never uses.
    if from_client.read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    let request = match line.contains(" /under/") {
        true => line.replacen(" /under/", " /", 1),
        false => "GET /outside HTTP/1.1\r\n".to_owned(),
    };
    write!(server, "{request}Connection: close\r\n").expect("the server reads");
    let mut to_client = from_client.get_ref().try_clone().expect("a copy");
    let mut to_server = server.try_clone().expect("a copy");
    thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut server, &mut to_client).ok();
    to_client.shutdown(Shutdown::Both).ok();
}

impl Rig {
    fn start() -> Self {
        Self::start_with("")
    }

    /// As [`Rig::start`], with more lines for the server.
    fn start_with(server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let programs = PROGRAMS.replace("{port}", &format!("{port}\n{server}"));
        let mut host = Host::new(directory.path(), "web01", "", &programs);
        host.start();
        eventually("every program is where it will stay", || {
            ["api:api_00", "api:api_01", "billing"]
                .iter()
                .all(|name| host.state(name) == "RUNNING")
                && host.state("import") == "FATAL"
        });
        Self {
            browser: Browser::start(),
            host,
            address: format!("http://127.0.0.1:{port}"),
            _directory: directory,
        }
    }

    fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.address));
    }

    /// Opens the status page and waits until it is updated.
    fn open_live(&self) {
        self.open("/");
        self.see("#mode", "Updates by itself.");
    }

    /// Waits until something on the page has this in its text.
    #[track_caller]
    fn see(&self, selector: &str, text: &str) {
        let start = Instant::now();
        loop {
            let seen = self.browser.text(selector);
            if seen.contains(text) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "`{selector}` says `{seen}`, not `{text}`, at {}",
                self.browser.eval("return location.href;")
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn focused(&self) -> String {
        let script = "const one = document.activeElement;\
                      return one.getAttribute('aria-label') || one.textContent;";
        self.browser
            .eval(script)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn button(name: &str, action: &str) -> String {
        format!("#p-{name} button[value={action}]")
    }
}

/// Where pictures of the pages go, to be looked at.
fn picture(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&directory).expect("a directory for pictures");
    directory.join(format!("{name}.png"))
}

#[test]
fn the_status_page_follows_what_happens_and_says_when_it_cannot() {
    let mut rig = Rig::start();
    rig.open_live();
    rig.see(".verdict", "3 of 7 running, 3 need attention:");
    assert!(
        rig.browser
            .text(".problems")
            .contains("import fatal: Exited too quickly")
    );
    rig.browser.eval("window.same = true;");
    rig.host.rsv(["stop", "billing"]).expect_code(0);
    rig.see("#p-billing .state", "stopped");
    rig.host.rsv(["start", "billing"]).expect_code(0);
    rig.see("#p-billing .state", "running");
    let uptime = rig.browser.text("#p-billing .uptime");
    eventually("uptimes go on", || {
        rig.browser.text("#p-billing .uptime") != uptime
    });
    assert_eq!(rig.browser.eval("return window.same;"), true);

    rig.host.agent().kill();
    rig.see("#stale", "Connection lost. Nothing heard since ");
    rig.see("#mode", "Not updating.");
    rig.browser.size(1200, 800);
    rig.browser.screenshot(&picture("stale"));
    rig.browser.click(&Rig::button("billing", "stop"));
    rig.see("#statusmessage", "It is not known whether this was done.");

    rig.host.start();
    rig.see("#mode", "Updates by itself.");
    assert_eq!(rig.browser.text("#stale"), "");
    // The new agent knows the page again.
    rig.browser.click(&Rig::button("billing", "stop"));
    rig.see("#statusmessage", "Process billing stopped");
    assert_eq!(rig.browser.eval("return window.same;"), true);

    // Silence is noticed too.
    rig.host.agent().signal(Signal::SIGSTOP);
    within(Duration::from_secs(90), "silence is noticed", || {
        rig.browser.text("#stale").starts_with("Connection lost.")
    });
    rig.host.agent().signal(Signal::SIGCONT);
    rig.see("#mode", "Updates by itself.");
}

#[test]
fn buttons_act_and_tell_the_truth_with_and_without_scripts() {
    let rig = Rig::start();
    for has_scripts in [true, false] {
        if !has_scripts {
            rig.browser.without_scripts();
        }
        rig.open("/");
        let mode = match has_scripts {
            true => "Updates by itself.",
            false => "Press Refresh to see what has changed.",
        };
        rig.see("#mode", mode);
        for (name, action, says, state) in [
            ("nightly", "start", "Process nightly started", "running"),
            ("nightly", "restart", "Process nightly restarted", "running"),
            ("nightly", "stop", "Process nightly stopped", "stopped"),
            ("billing", "clearlog", "Log for billing cleared", "running"),
            (
                "mailer",
                "start",
                "ERROR: Process mailer: no such file",
                "fatal",
            ),
            (
                "import",
                "start",
                "ERROR: Process import: spawn error",
                "fatal",
            ),
        ] {
            rig.browser.click(&Rig::button(name, action));
            rig.see("#statusmessage", says);
            rig.see(&format!("#p-{name} .state"), state);
        }
        rig.browser.click("form.all button[value=stopall]");
        rig.see("#statusmessage", "All stopped at ");
        rig.see(".verdict", "0 of 7 running");
        rig.browser.click("form.all button[value=restartall]");
        // What cannot be started is named.
        rig.see("#statusmessage", "ERROR: 2 of 7 not restarted: ");
        rig.see(".verdict", "4 of 7 running");
        rig.browser.click("form.all button[value=refresh]");
        rig.see("#statusmessage", "Page refreshed at ");
        rig.browser.click(&Rig::button("nightly", "stop"));
        rig.see("#statusmessage", "Process nightly stopped");
    }
    assert_eq!(rig.browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_proxy_may_show_the_pages_under_a_path_of_its_own() {
    let rig = Rig::start();
    let proxy = proxy(rig.address.strip_prefix("http://").expect("an address"));
    for has_scripts in [true, false] {
        if !has_scripts {
            rig.browser.without_scripts();
        }
        rig.browser.open(&format!("http://{proxy}/under/"));
        if has_scripts {
            rig.see("#mode", "Updates by itself.");
        }
        for (action, says) in [
            ("start", "Process nightly started"),
            ("stop", "Process nightly stopped"),
        ] {
            rig.browser.click(&Rig::button("nightly", action));
            rig.see("#statusmessage", says);
        }
        rig.browser.click("#p-billing .name a");
        rig.see("pre", "a <b>bill</b>");
        rig.browser.click("form.all button");
        rig.see("pre", "a <b>bill</b>");
        rig.browser.click("nav a");
        rig.see(".verdict", "running");
    }
    assert_eq!(rig.browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_password_is_given_once_for_the_page_and_all_it_does() {
    let mut rig =
        Rig::start_with("username = ops\npassword = {SHA}a9993e364706816aba3e25717850c26c9cd0d89d");
    rig.address = rig.address.replace("//", "//ops:abc@");
    rig.open_live();
    rig.browser.click(&Rig::button("nightly", "start"));
    rig.see("#statusmessage", "Process nightly started");
    rig.see("#p-nightly .state", "running");
}

#[test]
fn everything_can_be_done_by_keyboard() {
    let rig = Rig::start();
    rig.open_live();
    rig.browser.press(TAB);
    assert_eq!(rig.focused(), "Skip to the content");
    rig.browser.press(ENTER);
    rig.browser.press(TAB);
    assert_eq!(rig.focused(), "import");
    for _ in 0..200 {
        if rig.focused() == "Start nightly" {
            break;
        }
        rig.browser.press(TAB);
    }
    assert_eq!(rig.focused(), "Start nightly");
    rig.browser.press(ENTER);
    rig.see("#p-nightly .state", "running");
    // The button has gone, and the focus is in its row, where the key does nothing.
    assert_eq!(rig.focused(), "nightly");
    let outline = rig
        .browser
        .eval("return getComputedStyle(document.activeElement).outlineStyle;");
    assert_eq!(outline, "solid");
    rig.browser.press(ENTER);
    rig.see("h1", "nightly stdout");
}

#[test]
fn a_log_is_text_whatever_it_holds() {
    let rig = Rig::start();
    let hostile = b"</pre><script>window.hacked = true</script>\x1b[31m\xff\x00 end\n";
    fs::write(rig.host.path("hostile.log"), hostile).expect("a log");
    let more = "[program:hostile]\ncommand = /bin/sleep 600\nautostart = false\n\
                stdout_logfile = {dir}/hostile.log\n";
    let port = rig.address.rsplit_once(':').expect("an address").1;
    let programs = PROGRAMS.replace("{port}", port);
    rig.host.configure("", &format!("{programs}{more}"));
    rig.host.rsv(["update"]).expect_code(0);
    rig.open("/tail.html?processname=hostile");
    rig.see(
        "pre",
        "</pre><script>window.hacked = true</script>\u{241b}[31m\u{fffd}",
    );
    assert_eq!(rig.browser.eval("return window.hacked || false;"), false);
    rig.open("/tail.html?processname=billing&limit=16384");
    rig.see("pre", "a <b>bill</b>");
    // What is followed is no page, and the browser may not take it for one.
    let kind = "fetch('/logtail/hostile').then((answer) =>\
                answer.headers.get('content-type') + answer.headers.get('x-content-type-options'))";
    let kind = rig.browser.eval_async(kind);
    assert_eq!(kind, "text/plain;charset=utf-8nosniff");
}

#[test]
fn pages_fit_a_phone_and_can_be_read_by_everybody_in_light_and_dark() {
    let rig = Rig::start();
    let checker = fs::read_to_string(axe()).expect("the checker's script");
    let pages = [
        ("status", "/?message=Process%20import%20started"),
        ("tail", "/tail.html?processname=billing"),
    ];
    for (page, path) in pages {
        for (size, width, height) in [("desktop", 1280, 720), ("phone", 360, 740)] {
            for (light, is_dark) in [("light", false), ("dark", true)] {
                rig.browser.size(width, height);
                rig.browser.dark(is_dark);
                rig.open(path);
                match page {
                    "status" => rig.see("#mode", "Updates by itself."),
                    _ => rig.see("pre", "a <b>bill</b>"),
                }
                let name = format!("{page}-{size}-{light}");
                rig.browser.screenshot(&picture(&name));
                let wide = rig
                    .browser
                    .eval("return document.documentElement.scrollWidth;");
                assert!(
                    wide.as_u64() <= Some(u64::from(width)),
                    "{name} is {wide} wide"
                );
                assert_eq!(
                    violations(&rig.browser, &checker),
                    Vec::<String>::new(),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(rig.browser.complaints(), Vec::<String>::new());
}

/// What the checker finds on the page, one line each.
fn violations(browser: &Browser, checker: &str) -> Vec<String> {
    browser.eval(checker);
    let found = browser.eval_async("axe.run()");
    let found = found["violations"]
        .as_array()
        .unwrap_or_else(|| panic!("{found}"));
    let text = |violation: &Value| format!("{}: {}", violation["id"], violation["nodes"]);
    found.iter().map(text).collect()
}
