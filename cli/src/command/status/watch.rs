//! `status -w`: the page, drawn anew whenever something changes.
//!
//! On a terminal the page stays in place; elsewhere each page follows the one before, and as JSON each is
//! a line.

use std::time::{Duration, SystemTime};

use rsv_proto::wire::HostStatus;
use tokio::time::{Instant, sleep_until};

use super::{fleet, local, only, report, wide};
use crate::{
    args::{Form, Output, StatusArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    live::{Effect, Live, News},
    ui::{BAD, paint, printable},
};

/// Changes that come together are drawn together.
const TOGETHER: Duration = Duration::from_millis(100);

/// How often ages are drawn anew on a terminal.
const TICK: Duration = Duration::from_secs(1);

/// Shows the page until it is interrupted.
pub(super) async fn watch(
    invocation: &mut Invocation,
    scope: Scope,
    args: StatusArgs,
) -> Result<Exit, Failure> {
    let (mut live, mut picture) = Live::open(invocation, &scope, &args.programs).await?;
    let mut lost: Option<Lost> = None;
    let is_terminal = invocation.ui.out_is_terminal() && invocation.ui.output().is_text();
    let mut due = Some(Instant::now());
    loop {
        let tick = Instant::now() + TICK;
        let wake = due.unwrap_or(tick);
        let news = tokio::select! {
            news = live.next() => Some(news),
            () = sleep_until(wake), if due.is_some() || is_terminal => None,
        };
        let is_stale = match news {
            None => {
                due = None;
                // What is not heard of any more stays as it was then.
                let now = lost.as_ref().map_or_else(SystemTime::now, |lost| lost.at);
                let page = Page {
                    hosts: picture.hosts(now),
                    now,
                    lost: lost.as_ref(),
                };
                draw(invocation, &scope, &args, &page, is_terminal)?;
                continue;
            }
            Some(News::Happened(events)) => {
                let mut is_stale = false;
                for event in events {
                    match picture.apply(event) {
                        Effect::Changed => {
                            due.get_or_insert(Instant::now() + TOGETHER);
                        }
                        Effect::None => {}
                        Effect::Unknown => is_stale = true,
                    }
                }
                is_stale
            }
            Some(News::Missed | News::Retry) => true,
            Some(News::Lost(failure)) => {
                lost = Some(Lost {
                    reason: failure.to_string(),
                    since: Instant::now(),
                    at: SystemTime::now(),
                });
                due = Some(Instant::now());
                false
            }
        };
        if is_stale && let Some(whole) = live.again(invocation).await {
            picture = whole;
            lost = None;
            due = Some(Instant::now());
        }
    }
}

/// Since when nothing is heard, and why.
struct Lost {
    reason: String,
    since: Instant,
    at: SystemTime,
}

/// What is to be drawn, and when it was true.
struct Page<'a> {
    hosts: &'a [HostStatus],
    now: SystemTime,
    lost: Option<&'a Lost>,
}

fn draw(
    invocation: &mut Invocation,
    scope: &Scope,
    args: &StatusArgs,
    page: &Page<'_>,
    is_terminal: bool,
) -> Result<(), Failure> {
    let Page { hosts, now, lost } = *page;
    if invocation.ui.output() != Output::Table {
        let mut hosts = hosts.to_vec();
        only(&mut hosts, &args.states);
        let programs = hosts.iter().flat_map(|host| report::programs(host, now));
        let status =
            json::Status::new(hosts.iter().map(report::host).collect(), programs.collect());
        json::print(&mut invocation.ui, &status)?;
        return invocation.ui.flush();
    }
    let mut text = match (scope, args.summary) {
        (_, true) => fleet::headline(hosts).0 + "\n",
        (_, false) if invocation.ui.form() == Form::Name => names(hosts, args),
        (Scope::Fleet(_), false) => fleet::page(hosts, &args.states, now, invocation),
        (Scope::Local, false) => local::page(hosts, &args.states, now),
    };
    if let Some(lost) = lost {
        let seconds = lost.since.elapsed().as_secs();
        let words = format!("STALE for {seconds}s: {}", lost.reason);
        text = format!("{}\n{text}", paint(invocation.ui.color(), BAD, &words));
    }
    if is_terminal {
        text = in_place(&text, ratatui::crossterm::terminal::size().ok());
    }
    invocation.ui.bytes(text.as_bytes())?;
    invocation.ui.flush()
}

/// The names of what is shown, one a line.
fn names(hosts: &[HostStatus], args: &StatusArgs) -> String {
    let mut hosts = hosts.to_vec();
    only(&mut hosts, &args.states);
    let names = wide::names(&hosts);
    let lines = names.iter().map(|name| printable(name).into_owned() + "\n");
    lines.collect()
}

/// A page that takes the place of the one before: as much of it as the terminal has room for. A line
/// that ran on would push the first one, which says whether all is fine, out of sight.
fn in_place(page: &str, size: Option<(u16, u16)>) -> String {
    let (columns, rows) = size.map_or((usize::MAX, usize::MAX), |(columns, rows)| {
        (usize::from(columns), usize::from(rows).saturating_sub(1))
    });
    let lines: Vec<&str> = page.lines().collect();
    let shown = match lines.len() > rows {
        true => rows.saturating_sub(1).max(1),
        false => lines.len(),
    };
    let mut text = String::from("\x1b[H");
    for line in &lines[..shown] {
        text.push_str(&cut(line, columns));
        text.push_str("\x1b[K\r\n");
    }
    if shown < lines.len() && shown < rows {
        let more = format!("… {} more", lines.len() - shown);
        text.push_str(&cut(&more, columns));
        text.push_str("\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    text
}

/// As much of a line as fits. Colours take no room, and end with the line.
fn cut(line: &str, columns: usize) -> String {
    let (mut text, mut room) = (String::new(), columns);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\x1b' {
            text.push(letter);
            let style = letters.by_ref().take_while(|letter| *letter != 'm');
            text.extend(style);
            text.push('m');
            continue;
        }
        if room == 0 {
            if line.contains('\x1b') {
                text.push_str("\x1b[0m");
            }
            break;
        }
        room -= 1;
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_the_place_of_the_one_before_and_is_cut_to_the_terminal() {
        let page = "one\ntwo\nthree\nfour\n";
        assert_eq!(
            in_place(page, Some((80, 4))),
            "\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\n… 2 more\x1b[K\r\n\x1b[J"
        );
        assert_eq!(
            in_place("one\n", Some((80, 24))),
            "\x1b[Hone\x1b[K\r\n\x1b[J"
        );
        assert_eq!(in_place(page, None).lines().count(), 5);
        // The first line is there as long as there is a line.
        assert_eq!(in_place(page, Some((3, 2))), "\x1b[Hone\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn a_line_is_cut_to_the_width_of_the_terminal_and_its_colour_ends_there() {
        for (line, columns, expected) in [
            ("web01  app", 5, "web01"),
            ("web01", 5, "web01"),
            ("\x1b[31mFATAL\x1b[0m  x", 3, "\x1b[31mFAT\x1b[0m"),
            ("\x1b[31mFATAL\x1b[0m", 5, "\x1b[31mFATAL\x1b[0m"),
            ("äöü", 2, "äö"),
        ] {
            assert_eq!(cut(line, columns), expected, "{line:?} {columns}");
        }
        let page = in_place("a long line\nand another\n", Some((6, 9)));
        assert_eq!(page, "\x1b[Ha long\x1b[K\r\nand an\x1b[K\r\n\x1b[J");
    }
}
