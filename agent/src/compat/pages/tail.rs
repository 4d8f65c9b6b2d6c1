//! The page with the end of a log.

use http::StatusCode;
use rsv_keeper::message::Channel;

use super::form::{Fields, encode};
use super::html::Html;
use super::{Pages, ctime};
use crate::compat::fault::FaultCode;
use crate::compat::rpc::{Target, find, read_window};
use crate::compat::server::{Reply, html};
use crate::hub::Key;
use rsv_proto::xmlrpc::visible;

/// The least and the most bytes of a log on a page.
const BYTES: std::ops::RangeInclusive<i64> = 1024..=1 << 20;

/// The sizes to choose from.
const SIZES: [(i64, &str); 4] = [
    (1024, "1 KB"),
    (16 << 10, "16 KB"),
    (128 << 10, "128 KB"),
    (1 << 20, "1 MB"),
];

/// What the page shows.
struct Log<'a> {
    name: &'a str,
    channel: Channel,
    limit: i64,
    /// The end of the log, or why there is none.
    text: &'a str,
}

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
        let text = &self.end_of_log(name, channel, limit).await;
        let log = Log {
            name,
            channel,
            limit,
            text,
        };
        html(StatusCode::OK, log.page())
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
        let configured = self.supervision.configured();
        let path = configured.log_file(&key, channel).cloned();
        match read_window(path, -limit, 0).await {
            Ok(bytes) => visible(&bytes),
            // As in the answer to `readProcessStdoutLog`.
            Err(fault) if fault.code == FaultCode::NoFile => {
                match configured.is_auto(&key, channel) {
                    true => String::new(),
                    false => format!("No file for {name}"),
                }
            }
            Err(fault) => {
                let (number, text) = (fault.code.number(), fault.text());
                format!("ERROR: unexpected rpc fault [{number}] {text}")
            }
        }
    }
}

impl Log<'_> {
    fn page(&self) -> String {
        let (name, channel) = (self.name, channel_word(self.channel));
        let mut html = Html::page(&format!("{name} {channel}"));
        html.markup("<header><h1>")
            .text(name)
            .markup(" ")
            .markup(channel)
            .markup("</h1></header>\n<main id=\"content\" tabindex=\"-1\">\n");
        self.ways(&mut html);
        self.choice(&mut html);
        html.markup("<pre tabindex=\"0\" role=\"region\" aria-label=\"The end of the log\">")
            .text(self.text)
            .markup("</pre>\n<p class=\"asof\">As of ")
            .text(&ctime())
            .markup(". The newest line is the last.</p>\n</main>\n");
        html.finish()
    }

    fn ways(&self, html: &mut Html) {
        let link = encode(self.name);
        html.markup("<nav aria-label=\"Logs\"><a href=\"./\">All programs</a>");
        for (channel, word) in [("stdout", "Stdout"), ("stderr", "Stderr")] {
            html.markup("<a href=\"tail.html?processname=")
                .text(&link)
                .markup("&amp;channel=")
                .markup(channel)
                .markup("\"");
            if channel == channel_word(self.channel) {
                html.markup(" aria-current=\"page\"");
            }
            html.markup(">").markup(word).markup("</a>");
        }
        html.markup("<a href=\"logtail/")
            .text(&link)
            .markup("/")
            .markup(channel_word(self.channel))
            .markup("\">Tail -f</a></nav>\n");
    }

    fn choice(&self, html: &mut Html) {
        html.markup("<form class=\"all\" method=\"get\" action=\"tail.html\">")
            .hidden("processname", self.name)
            .hidden("channel", channel_word(self.channel))
            .markup("<label for=\"limit\">The last</label> <select id=\"limit\" name=\"limit\">");
        let is_other = SIZES.iter().all(|(size, _)| *size != self.limit);
        let other = (self.limit, &*format!("{} bytes", self.limit));
        for (size, words) in SIZES.into_iter().chain(is_other.then_some(other)) {
            html.markup("<option value=\"")
                .text(&size.to_string())
                .markup(match size == self.limit {
                    true => "\" selected>",
                    false => "\">",
                })
                .text(words)
                .markup("</option>");
        }
        html.markup("</select><button>Refresh</button></form>\n");
    }
}

fn channel_word(channel: Channel) -> &'static str {
    match channel {
        Channel::Stderr => "stderr",
        Channel::Stdin | Channel::Stdout => "stdout",
    }
}
