//! The page with the end of a log.

use http::StatusCode;
use rsv_keeper::message::Channel;

use super::Pages;
use super::form::{Fields, encode};
use super::html::Html;
use crate::compat::rpc::{Target, find, tail_window};
use crate::compat::server::{Reply, html};
use crate::compat::xmlrpc::visible;
use crate::hub::Key;

/// The least and the most bytes of a log on a page.
const BYTES: std::ops::RangeInclusive<i64> = 1024..=1 << 20;

impl Pages {
    pub(crate) async fn tail(&self, query: &str) -> Reply {
        let fields = Fields::parse(query);
        let name = fields.get("processname").unwrap_or_default();
        let limit = fields.get("limit").and_then(|limit| limit.parse().ok());
        let limit = limit.unwrap_or(0).clamp(*BYTES.start(), *BYTES.end());
        let channel = match fields.get("channel") {
            Some("stderr") => Channel::Stderr,
            _ => Channel::Stdout,
        };
        let text = self.end_of_log(name, channel, limit).await;
        html(StatusCode::OK, rendered(name, channel, limit, &text))
    }

    async fn end_of_log(&self, name: &str, channel: Channel, limit: i64) -> String {
        if name.is_empty() {
            return "No process name found".to_owned();
        }
        let Ok(processes) = self.supervision.processes().await else {
            return "ERROR: unexpected rpc fault [6] SHUTDOWN_STATE".to_owned();
        };
        let Some(status) = find(&processes, &Target::parse(name)) else {
            return format!("ERROR: unexpected rpc fault [10] BAD_NAME: {name}");
        };
        let key = Key {
            group: status.group.clone(),
            name: status.name.clone(),
        };
        let path = self
            .supervision
            .configured()
            .log_file(&key, channel)
            .cloned();
        if path.is_none() {
            return format!("No file for {name}");
        }
        visible(&tail_window(path, 0, limit).await.bytes)
    }
}

fn rendered(name: &str, channel: Channel, limit: i64, text: &str) -> String {
    let channel = match channel {
        Channel::Stderr => "stderr",
        Channel::Stdin | Channel::Stdout => "stdout",
    };
    let (link, limit) = (encode(name), limit.to_string());
    let mut html = Html::page(&format!("{name} {channel}"));
    html.markup("<header><h1>")
        .text(name)
        .markup(" ")
        .markup(channel)
        .markup("</h1></header>\n<main>\n<pre tabindex=\"0\">")
        .text(text)
        .markup("</pre>\n<form method=\"get\" action=\"/tail.html\">")
        .markup("<input type=\"hidden\" name=\"processname\" value=\"")
        .text(name)
        .markup("\"><input type=\"hidden\" name=\"channel\" value=\"")
        .markup(channel)
        .markup("\"><input type=\"hidden\" name=\"limit\" value=\"")
        .text(&limit)
        .markup("\"><button>Refresh</button></form>\n<nav><a href=\"/\">All programs</a>");
    for (other, word) in [("stdout", "Stdout"), ("stderr", "Stderr")] {
        html.markup(" <a href=\"/tail.html?processname=")
            .text(&link)
            .markup("&amp;channel=")
            .markup(other)
            .markup("\">")
            .markup(word)
            .markup("</a>");
    }
    html.markup("</nav>\n</main>\n");
    html.finish()
}
