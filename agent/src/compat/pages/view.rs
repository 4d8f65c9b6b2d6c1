//! What the status page shows: an answer to "is it fine?", then every process. The page as a whole
//! and its live updates are made of the same pieces.

use std::sync::Arc;
use std::time::SystemTime;

use rsv_proto::process::display_name;
use rsv_proto::wire::{ProcessState, ProcessStatus};

use super::ctime;
use super::html::Html;
use super::row::{anchor, button, row, trouble, word};
use crate::compat::supervision::Configured;

/// How many processes in trouble are named above the table.
const NAMED: usize = 10;

/// What the page shows besides the processes.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The name of this agent.
    pub(super) identifier: String,
    /// What came of the latest action; empty: there was none.
    pub(super) message: String,
    /// What all users are to be told; empty: nothing.
    pub(super) notice: String,
    /// The token of the forms.
    pub(super) token: String,
    pub(super) now: SystemTime,
    /// What is configured, to tell an expected exit from another.
    pub(super) configured: Arc<Configured>,
}

impl View {
    /// The whole page. `None`: the agent tells no more about its processes.
    pub(super) fn page(&self, processes: Option<&[ProcessStatus]>) -> String {
        let mut html = Html::page(&format!("{} status", self.identifier));
        html.markup("<header><h1>")
            .text(&self.identifier)
            .markup("</h1></header>\n<main id=\"content\" tabindex=\"-1\">\n");
        self.message(&mut html);
        match processes {
            None => {
                html.markup("<p role=\"status\">Every program is being stopped.</p>\n");
            }
            Some(processes) => self.content(&mut html, processes),
        }
        html.markup("<p class=\"asof\">As of <span id=\"asof\">")
            .text(&ctime())
            .markup("</span>. <span id=\"mode\">Press Refresh to see what has changed.</span></p>")
            .markup("\n</main>\n");
        html.finish()
    }

    fn message(&self, html: &mut Html) {
        html.markup("<div id=\"stale\" class=\"stale_msg\" role=\"alert\"></div>\n")
            .markup("<div id=\"statusmessage\" class=\"status_msg")
            .markup(match self.message.starts_with("ERROR") {
                true => " failed",
                false => "",
            })
            .markup("\" role=\"status\">")
            .text(&self.message)
            .markup("</div>\n");
    }

    fn content(&self, html: &mut Html, processes: &[ProcessStatus]) {
        html.markup("<div id=\"live\" data-from=\"live/status\">\n<div id=\"summary\">")
            .piece(&self.summary(processes))
            .markup("</div>\n");
        self.buttons(html);
        html.markup("<div id=\"processes\">")
            .piece(&self.table(processes))
            .markup("</div>\n</div>\n");
    }

    /// One sentence, and what a person should look at.
    pub(super) fn summary(&self, processes: &[ProcessStatus]) -> Html {
        let mut html = Html::default();
        if !self.notice.is_empty() {
            html.markup("<p class=\"notice\">")
                .text(&self.notice)
                .markup("</p>");
        }
        let running = processes
            .iter()
            .filter(|process| process.state() == ProcessState::Running)
            .count();
        let troubled = processes
            .iter()
            .filter_map(|one| Some((one, trouble(one, &self.configured)?)));
        let troubled: Vec<_> = troubled.collect();
        html.markup("<p class=\"verdict\">")
            .text(&sentence(running, processes.len(), troubled.len()))
            .markup("</p>");
        if !troubled.is_empty() {
            self.troubled(&mut html, &troubled);
        }
        html
    }

    fn troubled(&self, html: &mut Html, troubled: &[(&ProcessStatus, String)]) {
        html.markup("<ul class=\"problems\">");
        for (process, why) in troubled.iter().take(NAMED) {
            html.markup("<li><a href=\"#")
                .text(&anchor(process))
                .markup("\">")
                .text(&display_name(&process.group, &process.name))
                .markup("</a> ")
                .text(&word(process));
            if !why.is_empty() {
                html.markup(": ").text(why);
            }
            html.markup("</li>");
        }
        if let Some(more) = troubled.len().checked_sub(NAMED).filter(|more| *more > 0) {
            html.markup("<li>and ")
                .text(&more.to_string())
                .markup(" more</li>");
        }
        html.markup("</ul>");
    }

    /// Every process.
    pub(super) fn table(&self, processes: &[ProcessStatus]) -> Html {
        let mut html = Html::default();
        if processes.is_empty() {
            html.markup("<p>No programs to manage</p>");
            return html;
        }
        html.markup("<table>\n<caption class=\"unseen\">Programs</caption>\n")
            .markup("<thead><tr><th scope=\"col\">State</th><th scope=\"col\">Description</th>")
            .markup("<th scope=\"col\">Name</th><th scope=\"col\">Action</th></tr></thead>\n")
            .markup("<tbody>\n");
        for process in processes {
            html.piece(&self.row(process));
        }
        html.markup("</tbody>\n</table>");
        html
    }

    /// One process.
    pub(super) fn row(&self, process: &ProcessStatus) -> Html {
        row(process, &self.token, self.now)
    }

    fn buttons(&self, html: &mut Html) {
        html.markup("<form class=\"all\" method=\"post\" action=\"index.html\">")
            .hidden("token", &self.token);
        for (action, word) in [
            ("refresh", "Refresh"),
            ("restartall", "Restart All"),
            ("stopall", "Stop All"),
        ] {
            button(html, action, word, None);
        }
        html.markup("</form>\n");
    }
}

fn sentence(running: usize, all: usize, troubled: usize) -> String {
    let running = match (running, all) {
        (_, 0) => return String::new(),
        (1, 1) => "The only program is running".to_owned(),
        (running, all) if running == all => format!("All {all} programs are running"),
        (running, all) => format!("{running} of {all} running"),
    };
    match troubled {
        0 => format!("{running}."),
        1 => format!("{running}, 1 needs attention:"),
        troubled => format!("{running}, {troubled} need attention:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_says_whether_it_is_fine() {
        for ((running, all, troubled), text) in [
            ((0, 0, 0), ""),
            ((1, 1, 0), "The only program is running."),
            ((3, 3, 0), "All 3 programs are running."),
            ((3, 3, 1), "All 3 programs are running, 1 needs attention:"),
            ((1, 4, 0), "1 of 4 running."),
            ((1, 4, 2), "1 of 4 running, 2 need attention:"),
        ] {
            assert_eq!(sentence(running, all, troubled), text);
        }
    }
}
