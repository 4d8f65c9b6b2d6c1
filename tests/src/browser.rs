//! A real browser that does what a person would: Debian's Chromium without a window, driven over
//! WebDriver, which is JSON over HTTP.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    daemon::Daemon,
    eventually::{PATIENCE, eventually},
};

/// The name of the field in which WebDriver hands out an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Chromium's switches: no window, nothing of its own on the network.
const SWITCHES: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    port: u16,
    session: String,
    // Ends after the session; the directory after both.
    driver: Option<Daemon>,
    home: TempDir,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    ///
    /// When there is none: a test must not pass without it.
    pub fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory for the browser");
        let log = home.path().join("driver.out");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("HOME", home.path());
        let driver = Daemon::start(&mut command, &log);
        let mut port = None;
        eventually("chromedriver says its port", || {
            port = port_in(&fs::read_to_string(&log).unwrap_or_default());
            port.is_some()
        });
        let mut browser = Self {
            port: port.expect("waited for"),
            session: String::new(),
            driver: Some(driver),
            home,
        };
        browser.session = browser.new_session();
        browser
    }

    fn new_session(&self) -> String {
        let profile = self.home.path().join("profile").display().to_string();
        let mut switches: Vec<_> = SWITCHES.map(str::to_owned).into();
        switches.push(format!("--user-data-dir={profile}"));
        let options = json!({ "args": switches, "binary": "/usr/bin/chromium" });
        let wanted = json!({ "alwaysMatch": { "goog:chromeOptions": options } });
        let body = json!({ "capabilities": wanted });
        let made = self.ask("POST", "/session", Some(&body));
        made["sessionId"].as_str().expect("a session").to_owned()
    }

    /// Opens a page and waits until it is there.
    pub fn open(&self, address: &str) {
        self.command("/url", &json!({ "url": address }));
    }

    /// What a piece of JavaScript returns, run whether or not the page's own scripts are.
    pub fn eval(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// As [`Browser::eval`], for a promise.
    pub fn eval_async(&self, promise: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];\
             {promise}.then(done, (error) => done(String(error)));"
        );
        self.command("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// The text of what a selector names, as a person sees it; empty: there is no such thing.
    pub fn text(&self, selector: &str) -> String {
        let selector = json!(selector);
        let text = self.eval(&format!(
            "const one = document.querySelector({selector}); return one ? one.innerText : '';"
        ));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on what a selector names, as a mouse does. What is replaced meanwhile is looked for
    /// again.
    ///
    /// # Panics
    ///
    /// When it does not come or cannot be clicked on.
    pub fn click(&self, selector: &str) {
        eventually(&format!("`{selector}` can be clicked on"), || {
            let body = json!({ "using": "css selector", "value": selector });
            let Some(found) = self.present("/element", &body) else {
                return false;
            };
            let id = found[ELEMENT].as_str().expect("an element");
            let click = format!("/element/{id}/click");
            self.present(&click, &json!({})).is_some()
        });
    }

    /// What a command gives; `None`: what it names is not there, or not any more.
    fn present(&self, path: &str, body: &Value) -> Option<Value> {
        let path = format!("/session/{}{path}", self.session);
        let answer = self.exchange("POST", &path, Some(body));
        let (status, mut answer) = answer.unwrap_or_else(|e| panic!("{path}: {e}"));
        match &*status {
            "200" => Some(answer["value"].take()),
            "404" => None,
            _ => panic!("{path}: {answer}"),
        }
    }

    /// Presses one key after the other; WebDriver's names of special keys are private characters.
    pub fn press(&self, keys: &str) {
        let mut actions = Vec::new();
        for key in keys.chars() {
            actions.push(json!({ "type": "keyDown", "value": key.to_string() }));
            actions.push(json!({ "type": "keyUp", "value": key.to_string() }));
        }
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.command("/actions", &json!({ "actions": [keyboard] }));
    }

    /// The size of the window's inside, in pixels of the page.
    pub fn size(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Whether the person prefers dark pages.
    pub fn dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": value });
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [feature] }),
        );
    }

    /// Has pages run without their scripts from the next one on.
    pub fn without_scripts(&self) {
        let off = json!({ "value": true });
        self.devtools("Emulation.setScriptExecutionDisabled", &off);
    }

    /// What the browser has complained of, such as a violated policy, since the last ask.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a list of entries");
        let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        entries.iter().map(text).collect()
    }

    /// Writes what is seen to a file.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn screenshot(&self, path: &Path) {
        let shot = self.ask(
            "GET",
            &format!("/session/{}/screenshot", self.session),
            None,
        );
        let bytes = decoded(shot.as_str().expect("a picture"));
        fs::write(path, bytes).expect("a file for the picture");
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.ask(
            "POST",
            &format!("/session/{}{path}", self.session),
            Some(body),
        )
    }

    /// One command of WebDriver.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.exchange(method, path, body);
        let (status, mut answer) = answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        assert_eq!(status, "200", "{method} {path}: {answer}");
        answer["value"].take()
    }

    /// One request, and the status and the body of its answer.
    fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<(String, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE * 2))?;
        stream.write_all(request.as_bytes())?;
        // The driver keeps the connection open: the answer ends where its head says.
        let mut answer = BufReader::new(stream);
        let mut status = String::new();
        answer.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            match line.trim().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(std::io::Error::other)?;
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        let status = status.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok((status, serde_json::from_slice(&body)?))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and only so.
        let ended = self.exchange("DELETE", &format!("/session/{}", self.session), None);
        if let Err(error) = ended {
            eprintln!("the browser's session has not been ended: {error}");
        }
        self.driver.take();
    }
}

/// The port in what chromedriver prints when it is ready.
fn port_in(printed: &str) -> Option<u16> {
    let (_, rest) = printed.split_once("started successfully on port ")?;
    rest.split('.').next()?.parse().ok()
}

/// The bytes of a text in base 64.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<_> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for four in digits.chunks(4) {
        let bits = four
            .iter()
            .fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

/// The path of the script that checks accessibility; brought when it is not there yet.
///
/// # Panics
///
/// When it cannot be brought.
pub fn axe() -> PathBuf {
    let script = crate::binaries::checkout().join("tests/axe.sh");
    let brought = crate::command::run(&mut Command::new(script)).expect_code(0);
    PathBuf::from(brought.stdout.trim())
}
