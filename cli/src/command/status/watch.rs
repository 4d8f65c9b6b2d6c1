//! `status -w`: the page, drawn anew whenever something changes.
//!
//! On a terminal the page stays in place; elsewhere each page follows the one before, and as JSON each is
//! a line.

use std::time::{Duration, SystemTime};

use rsv_proto::wire::HostStatus;
use tokio::time::{Instant, sleep_until};

use super::{fleet, local, only, report};
use crate::{
    args::{Output, StatusArgs},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    json,
    live::{Effect, Live, News},
    ui::{BAD, paint},
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
    let mut lost: Option<(String, Instant)> = None;
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
                let hosts = picture.hosts(SystemTime::now());
                draw(invocation, &scope, &args, hosts, lost.as_ref(), is_terminal)?;
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
                lost = Some((failure.to_string(), Instant::now()));
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

fn draw(
    invocation: &mut Invocation,
    scope: &Scope,
    args: &StatusArgs,
    hosts: &[HostStatus],
    lost: Option<&(String, Instant)>,
    is_terminal: bool,
) -> Result<(), Failure> {
    let now = SystemTime::now();
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
        (Scope::Fleet(_), false) => fleet::page(hosts, &args.states, now, invocation),
        (Scope::Local, false) => local::page(hosts, &args.states, now),
    };
    if let Some((reason, since)) = lost {
        let seconds = since.elapsed().as_secs();
        let words = format!("STALE for {seconds}s: {reason}");
        text = format!("{}\n{text}", paint(invocation.ui.color(), BAD, &words));
    }
    if is_terminal {
        text = in_place(&text, ratatui::crossterm::terminal::size().ok());
    }
    invocation.ui.bytes(text.as_bytes())?;
    invocation.ui.flush()
}

/// A page that takes the place of the one before: as much of it as the terminal has lines for.
fn in_place(page: &str, size: Option<(u16, u16)>) -> String {
    let rows = size.map_or(usize::MAX, |(_, rows)| usize::from(rows).saturating_sub(1));
    let lines: Vec<&str> = page.lines().collect();
    let shown = match lines.len() > rows {
        true => rows.saturating_sub(1),
        false => lines.len(),
    };
    let mut text = String::from("\x1b[H");
    for line in &lines[..shown] {
        text.push_str(line);
        text.push_str("\x1b[K\r\n");
    }
    if shown < lines.len() {
        text.push_str(&format!("… {} more\x1b[K\r\n", lines.len() - shown));
    }
    text.push_str("\x1b[J");
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
    }
}
