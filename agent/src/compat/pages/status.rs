//! The status page.

use std::time::SystemTime;

use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use rsv_proto::process::{description, display_name, state_word};
use rsv_proto::wire::{ProcessState, ProcessStatus};

use super::form::{Fields, encode};
use super::html::Html;
use super::{Pages, ctime};
use crate::compat::server::{Reply, html};

impl Pages {
    pub(crate) async fn status(&self, query: &str, headers: &HeaderMap) -> Reply {
        let fields = Fields::parse(query);
        if fields
            .get("action")
            .is_some_and(|action| action != "refresh")
        {
            let text =
                "Nothing was done: an action is sent by the buttons of this page, not by a link.";
            return self
                .rendered(StatusCode::METHOD_NOT_ALLOWED, text, headers)
                .await;
        }
        let message = fields.get("message").unwrap_or_default();
        self.rendered(StatusCode::OK, message, headers).await
    }

    async fn rendered(&self, status: StatusCode, message: &str, headers: &HeaderMap) -> Reply {
        let session = self.sessions.of(headers);
        let processes = self.supervision.processes().await;
        let page = Page {
            identifier: &self.supervision.configured().config.supervisord.identifier,
            message,
            token: &self.sessions.token(&session),
            now: SystemTime::now(),
        };
        let mut reply = match processes {
            Ok(processes) => html(status, page.render(&processes)),
            Err(_) => html(StatusCode::SERVICE_UNAVAILABLE, page.ending()),
        };
        if let Some(cookie) = session.cookie() {
            reply.headers_mut().insert(SET_COOKIE, cookie);
        }
        reply
    }
}

/// What the page shows besides the processes.
pub(super) struct Page<'a> {
    pub(super) identifier: &'a str,
    pub(super) message: &'a str,
    pub(super) token: &'a str,
    pub(super) now: SystemTime,
}

impl Page<'_> {
    pub(super) fn render(&self, processes: &[ProcessStatus]) -> String {
        let mut html = self.head();
        self.buttons(&mut html);
        if processes.is_empty() {
            html.markup("<p>No programs to manage</p>\n");
        } else {
            html.markup("<table>\n<thead><tr><th scope=\"col\">State</th>")
                .markup("<th scope=\"col\">Description</th><th scope=\"col\">Name</th>")
                .markup("<th scope=\"col\">Action</th></tr></thead>\n<tbody>\n");
            for process in processes {
                self.row(&mut html, process);
            }
            html.markup("</tbody>\n</table>\n");
        }
        self.foot(html)
    }

    fn ending(&self) -> String {
        let mut html = self.head();
        html.markup("<p role=\"status\">Every program is being stopped.</p>\n");
        self.foot(html)
    }

    fn head(&self) -> Html {
        let mut html = Html::page(&format!("{} status", self.identifier));
        html.markup("<header><h1>")
            .text(self.identifier)
            .markup("</h1></header>\n<main>\n");
        if !self.message.is_empty() {
            html.markup("<div id=\"statusmessage\" class=\"status_msg\" role=\"status\">")
                .text(self.message)
                .markup("</div>\n");
        }
        html
    }

    fn foot(&self, mut html: Html) -> String {
        html.markup("<p class=\"asof\">As of ")
            .text(&ctime())
            .markup("</p>\n</main>\n<footer>rsv ")
            .text(env!("CARGO_PKG_VERSION"))
            .markup("</footer>\n");
        html.finish()
    }

    fn buttons(&self, html: &mut Html) {
        html.markup("<form class=\"all\" method=\"post\" action=\"/index.html\">");
        self.hidden(html, "token", self.token);
        for (action, word) in [
            ("refresh", "Refresh"),
            ("restartall", "Restart All"),
            ("stopall", "Stop All"),
        ] {
            button(html, action, word, None);
        }
        html.markup("</form>\n");
    }

    fn hidden(&self, html: &mut Html, name: &'static str, value: &str) {
        html.markup("<input type=\"hidden\" name=\"")
            .markup(name)
            .markup("\" value=\"")
            .text(value)
            .markup("\">");
    }

    fn row(&self, html: &mut Html, process: &ProcessStatus) {
        let name = display_name(&process.group, &process.name);
        let link = encode(&name);
        html.markup("<tr><td><span class=\"status ")
            .markup(class(process.state()))
            .markup("\">")
            .text(&state_word(process.state()).to_lowercase())
            .markup("</span></td><td>")
            .text(&description(process, self.now))
            .markup("</td><td><a href=\"/tail.html?processname=")
            .text(&link)
            .markup("\">")
            .text(&name)
            .markup("</a></td><td class=\"actions\"><form method=\"post\" action=\"/index.html\">");
        self.hidden(html, "token", self.token);
        self.hidden(html, "processname", &name);
        for (action, word) in actions(process.state()) {
            button(html, action, word, Some(&name));
        }
        html.markup("</form>");
        for (channel, word) in [("", "Tail -f Stdout"), ("/stderr", "Tail -f Stderr")] {
            html.markup("<a href=\"/logtail/")
                .text(&link)
                .markup(channel)
                .markup("\">")
                .markup(word)
                .markup("</a> ");
        }
        html.markup("</td></tr>\n");
    }
}

/// A button; its label says to a screen reader which process it is for.
fn button(html: &mut Html, action: &'static str, word: &'static str, name: Option<&str>) {
    html.markup("<button name=\"action\" value=\"")
        .markup(action)
        .markup("\"");
    if let Some(name) = name {
        html.markup(" aria-label=\"")
            .markup(word)
            .markup(" ")
            .text(name)
            .markup("\"");
    }
    html.markup(">").markup(word).markup("</button>");
}

type Action = (&'static str, &'static str);

fn actions(state: ProcessState) -> &'static [Action] {
    const CLEAR: Action = ("clearlog", "Clear Log");
    match state {
        ProcessState::Running => &[("restart", "Restart"), ("stop", "Stop"), CLEAR],
        // A program between two attempts can be given up.
        ProcessState::Starting | ProcessState::Backoff => &[("stop", "Stop"), CLEAR],
        ProcessState::Stopped | ProcessState::Exited | ProcessState::Fatal => {
            &[("start", "Start"), CLEAR]
        }
        ProcessState::Stopping | ProcessState::Unknown | ProcessState::Unspecified => &[CLEAR],
    }
}

fn class(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "statusrunning",
        ProcessState::Fatal | ProcessState::Backoff => "statuserror",
        _ => "statusnominal",
    }
}
