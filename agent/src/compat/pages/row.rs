//! One process in the table of the status page.

use std::fmt::Write as _;
use std::time::SystemTime;

use rsv_proto::process::{description, display_name, exit_words, state_word, uptime_words};
use rsv_proto::time::{age, from_wire};
use rsv_proto::wire::{ProcessState, ProcessStatus};

use super::form::encode;
use super::html::Html;
use crate::compat::supervision::Configured;
use crate::hub::Key;

/// What a person should look at, and why, in words; `None`: the process is fine.
pub(super) fn trouble(process: &ProcessStatus, configured: &Configured) -> Option<String> {
    if !process.log_trouble.is_empty() {
        return Some(process.log_trouble.clone());
    }
    match process.state() {
        ProcessState::Fatal | ProcessState::Backoff | ProcessState::Unknown => {
            Some(process.spawn_error.clone())
        }
        ProcessState::Exited => {
            let exit = process.exit.as_ref()?;
            let key = Key {
                group: process.group.clone(),
                name: process.name.clone(),
            };
            (!configured.is_expected(&key, exit)).then(|| exit_words(exit))
        }
        _ => None,
    }
}

/// The state's word as the page writes it.
pub(super) fn word(process: &ProcessStatus) -> String {
    state_word(process.state()).to_lowercase()
}

/// The name of a process's row inside the page; plain letters, so that it can be linked to.
pub(super) fn anchor(process: &ProcessStatus) -> String {
    let mut anchor = "p-".to_owned();
    for byte in display_name(&process.group, &process.name).bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            anchor.push(char::from(byte));
        } else {
            write!(anchor, "_{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    anchor
}

/// The row, with forms that carry this token.
pub(super) fn row(process: &ProcessStatus, token: &str, now: SystemTime) -> Html {
    let name = display_name(&process.group, &process.name);
    let link = encode(&name);
    let mut html = Html::default();
    html.markup("<tr id=\"")
        .text(&anchor(process))
        .markup("\"><td class=\"state\"><span class=\"status ")
        .markup(class(process.state()))
        .markup("\">")
        .text(&word(process))
        .markup("</span></td><td class=\"description\">")
        .piece(&about(process, now))
        .markup("</td><th scope=\"row\" class=\"name\"><a href=\"tail.html?processname=")
        .text(&link)
        .markup("\">")
        .text(&name)
        .markup("</a></th><td class=\"actions\"><form method=\"post\" action=\"index.html\">")
        .hidden("token", token)
        .hidden("processname", &name);
    for (action, word) in actions(process.state()) {
        button(&mut html, action, word, Some(&name));
    }
    html.markup("</form>");
    follow(&mut html, &link, &name);
    html.markup("</td></tr>\n");
    html
}

/// What stands behind the state.
fn about(process: &ProcessStatus, now: SystemTime) -> Html {
    let mut html = Html::default();
    match process.state() {
        ProcessState::Running => {
            let started = process.started_at.as_ref().and_then(from_wire);
            let uptime = started.map_or(0, |at| age(at, now).as_secs());
            html.markup("pid ")
                .text(&process.pid.unwrap_or(0).to_string())
                .markup(", uptime <span class=\"uptime\" data-seconds=\"")
                .text(&uptime.to_string())
                .markup("\">")
                .text(&uptime_words(uptime))
                .markup("</span>");
        }
        ProcessState::Exited => {
            html.text(&description(process, now));
            if let Some(exit) = &process.exit {
                html.markup(", ").text(&exit_words(exit));
            }
        }
        _ => {
            html.text(&description(process, now));
        }
    }
    if !process.log_trouble.is_empty() {
        html.markup("<br>log: ").text(&process.log_trouble);
    }
    html
}

fn follow(html: &mut Html, link: &str, name: &str) {
    for (channel, word) in [("", "Tail -f Stdout"), ("/stderr", "Tail -f Stderr")] {
        html.markup(" <a href=\"logtail/")
            .text(link)
            .markup(channel)
            .markup("\" aria-label=\"")
            .markup(word)
            .markup(" ")
            .text(name)
            .markup("\">")
            .markup(word)
            .markup("</a>");
    }
}

/// A button; its label says to a screen reader which process it is for.
pub(super) fn button(
    html: &mut Html,
    action: &'static str,
    word: &'static str,
    name: Option<&str>,
) {
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
