//! What the buttons of the status page do, and the sentence that says what came of it.

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::form::{Fields, encode};
use super::{Pages, ctime};
use crate::compat::fault::{Fault, FaultCode};
use crate::compat::rpc::{Doing, Outcome, Target, find};
use crate::compat::server::{Body, Reply, html, reply, see_other};
use crate::hub::Key;

impl Pages {
    /// Does what a form asks for, and leads back to the status page.
    pub(crate) async fn act(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let fields = Fields::parse(&String::from_utf8_lossy(body));
        if !self
            .sessions
            .admits(headers, fields.get("token").unwrap_or_default())
        {
            let old = "Nothing was done: the page was too old. Please try again";
            return told(headers, old);
        }
        let action = fields.get("action").unwrap_or_default();
        match self.done(action, fields.get("processname")).await {
            Some(message) => told(headers, &message),
            None => html(
                StatusCode::BAD_REQUEST,
                "<!doctype html>\n<p>No such action\n".into(),
            ),
        }
    }

    /// What came of an action; `None`: there is no such action.
    async fn done(&self, action: &str, name: Option<&str>) -> Option<String> {
        let doing = match action {
            "refresh" => return Some(format!("Page refreshed at {}", ctime())),
            "stopall" => return Some(self.all(Doing::Stop, "stopped").await),
            "restartall" => return Some(self.all(Doing::Restart, "restarted").await),
            "start" => Some(Doing::Start),
            "stop" => Some(Doing::Stop),
            "restart" => Some(Doing::Restart),
            "clearlog" => None,
            _ => return None,
        };
        let name = name.unwrap_or_default();
        let Some(key) = self.key(name).await else {
            return Some(format!("No such process named {name}"));
        };
        let Some(doing) = doing else {
            let cleared = self.supervision.clear(&key).await;
            let cleared = cleared.map_err(|denied| Fault::denied(denied, name));
            return Some(match cleared {
                Ok(()) => format!("Log for {name} cleared"),
                Err(fault) => format!("ERROR: Log for {name}: {}", fault.text()),
            });
        };
        let past = past(&doing);
        Some(sentence(
            name,
            past,
            self.rpc.act_for_page(&key, doing).await,
        ))
    }

    async fn all(&self, doing: Doing, past: &str) -> String {
        match self.rpc.act_on_all_for_page(doing).await {
            Ok((_, failed)) if failed.is_empty() => format!("All {past} at {}", ctime()),
            Ok((all, failed)) => {
                let texts: Vec<_> = failed.iter().map(Fault::text).collect();
                let (n, texts) = (failed.len(), texts.join("; "));
                format!("ERROR: {n} of {all} not {past}: {texts}")
            }
            Err(fault) => format!("ERROR: {}", fault.text()),
        }
    }

    async fn key(&self, name: &str) -> Option<Key> {
        let processes = self.supervision.processes().await.ok()?;
        let status = find(&processes, &Target::parse(name))?;
        Some(Key {
            group: status.group.clone(),
            name: status.name.clone(),
        })
    }
}

fn past(doing: &Doing) -> &'static str {
    match doing {
        Doing::Start => "started",
        Doing::Stop => "stopped",
        Doing::Restart => "restarted",
        Doing::Signal(_) => "signalled",
    }
}

fn sentence(name: &str, past: &str, outcome: Outcome) -> String {
    let fault = match outcome {
        Ok(()) => return format!("Process {name} {past}"),
        Err(fault) => fault,
    };
    let why = match fault.code {
        FaultCode::NoFile => "no such file".to_owned(),
        FaultCode::NotExecutable => "file not executable".to_owned(),
        FaultCode::AlreadyStarted => "already started".to_owned(),
        FaultCode::NotRunning => "not running".to_owned(),
        FaultCode::SpawnError => "spawn error".to_owned(),
        FaultCode::AbnormalTermination => "abnormal termination".to_owned(),
        _ => fault.text(),
    };
    format!("ERROR: Process {name}: {why}")
}

/// Says what came of an action: to a script as an object, to a browser by the status page.
fn told(headers: &HeaderMap, message: &str) -> Reply {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accepted == Some("application/json") {
        let text = json!({ "message": message }).to_string();
        return reply(StatusCode::OK, "application/json", Body::whole(text));
    }
    see_other(&format!("./?message={}", encode(message)))
}
