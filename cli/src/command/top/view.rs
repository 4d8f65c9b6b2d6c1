//! How the model looks: a first line that answers "is it fine?", the table, and one line of conversation.

use std::time::SystemTime;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Cell, Clear, Paragraph, Row as Drawn, Table},
};
use rsv_proto::{
    process::{description, exit_words, state_word, uptime_words},
    time::{age, from_wire},
    wire::{ProcessState, ProcessStatus},
};

use super::model::{Mode, Model, Row};
use crate::{
    command::status::headline,
    ui::{age_words, printable},
};

const KEYS: &str = "? help  q quit  / filter  o order  r restart  s stop  S start  f follow";

const HELP: [&str; 12] = [
    "Up, Down, j, k     select a program; PgUp, PgDn, g, G move further",
    "/                  filter by host, program and state; Enter keeps it, Esc ends it",
    "o                  another order: problems, host, program, newest, restarts",
    "r  s  S            restart, stop, start the selected program; asks first",
    "f                  follow its output; f, q or Esc ends that",
    "Enter              all that is known of it",
    "q  Ctrl-C          leave; nothing that runs is touched",
    "",
    "Hosts that cannot be reached are always shown, with what was last known of",
    "them, in faint letters. The first line says when all of this is stale.",
    "",
    "Any key closes this.",
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, now: SystemTime) {
    let bottom = if model.output.is_some() { 50 } else { 0 };
    let [first, table, output, last] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Percentage(bottom),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let headline = first_line(model, now);
    frame.render_widget(headline, first);
    rows(frame, table, model, now);
    follow(frame, output, model);
    frame.render_widget(last_line(model), last);
    match &model.mode {
        Mode::Help => over(frame, " Keys ", &HELP.map(String::from)),
        Mode::Detail => detail(frame, model, now),
        Mode::Table | Mode::Filter | Mode::Confirm(_) => {}
    }
}

fn first_line(model: &mut Model, now: SystemTime) -> Line<'static> {
    let color = model.color;
    if let Some(reason) = &model.lost {
        let text = format!("STALE: {}; trying to reach it again", printable(reason));
        return Line::styled(text, bad(color).add_modifier(Modifier::BOLD));
    }
    let (text, is_fine) = headline(model.hosts(now));
    let style = if is_fine { good(color) } else { bad(color) };
    Line::styled(text, style.add_modifier(Modifier::BOLD))
}

fn rows(frame: &mut Frame<'_>, area: Rect, model: &mut Model, now: SystemTime) {
    let rows = model.rows();
    let height = usize::from(area.height).saturating_sub(1);
    let selected = model.selected.clone();
    let at = rows
        .iter()
        .position(|row| row.process.is_some() && Some(model.place(row)) == selected);
    if let Some(at) = at {
        model.top = model.top.min(at).max((at + 1).saturating_sub(height));
    }
    model.top = model.top.min(rows.len().saturating_sub(height));
    let shown = rows.iter().enumerate().skip(model.top).take(height);
    let drawn = shown.map(|(i, row)| {
        let line = line(row, model.is_fleet, model.color, now);
        match Some(i) == at {
            true => line.style(Style::new().add_modifier(Modifier::REVERSED)),
            false => line,
        }
    });
    let mut header = vec!["PROGRAM", "STATE", "RESTARTS", "DESCRIPTION"];
    let longest = |of: fn(&Row) -> &str, least: u16| {
        let widths = rows.iter().map(|row| of(row).chars().count());
        let most = widths.max().unwrap_or(0).min(40);
        Constraint::Length(u16::try_from(most).unwrap_or(least).max(least))
    };
    let mut widths = vec![
        longest(|row| &row.program, 7),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    if model.is_fleet {
        header.insert(0, "HOST");
        widths.insert(0, longest(|row| &row.host, 4));
    }
    let header = Drawn::new(header).style(faint());
    let table = Table::new(drawn.collect::<Vec<_>>(), widths)
        .header(header)
        .column_spacing(2);
    frame.render_widget(table, area);
}

fn line(row: &Row, is_fleet: bool, color: bool, now: SystemTime) -> Drawn<'static> {
    let text = |text: &str| Cell::from(printable(text).into_owned());
    let mut cells = Vec::new();
    if is_fleet {
        cells.push(text(&row.host));
    }
    let Some(process) = &row.process else {
        let words = match row.reason.as_str() {
            "" => "the host cannot be reached".to_owned(),
            reason if !row.is_enrolled => reason.to_owned(),
            reason => format!("the host cannot be reached: {reason}"),
        };
        cells.extend([text(""), text(""), text("")]);
        cells.push(text(&words).style(bad(color)));
        return Drawn::new(cells);
    };
    let is_true = row.is_true;
    cells.push(text(&row.program));
    cells.push(text(state_word(process.state())).style(match is_true {
        true => state_style(process.state(), color),
        false => faint(),
    }));
    cells.push(text(&process.restarts.to_string()));
    let words = match is_true {
        true => words(process, now),
        false => row.as_of.map_or_else(
            || "last known".to_owned(),
            |at| format!("last known {} ago", age_words(age(at, now))),
        ),
    };
    cells.push(text(&words));
    let drawn = Drawn::new(cells);
    match is_true {
        true => drawn,
        false => drawn.style(faint()),
    }
}

fn words(process: &ProcessStatus, now: SystemTime) -> String {
    let mut words = description(process, now);
    if process.state() == ProcessState::Exited
        && let Some(exit) = &process.exit
    {
        words = format!("{}, {words}", exit_words(exit));
    }
    if !process.log_trouble.is_empty() {
        words = format!("{words}; log: {}", process.log_trouble);
    }
    words
}

fn follow(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(output) = &model.output else {
        return;
    };
    let title = model.selected.as_ref().map_or_else(String::new, |place| {
        let host = place.host.clone().unwrap_or_default();
        printable(format!(" {host} {} ", place.program).trim_start()).into_owned()
    });
    let height = usize::from(area.height).saturating_sub(1);
    let skipped = output.lines.len().saturating_sub(height);
    let lines: Vec<Line<'_>> = output
        .lines
        .iter()
        .skip(skipped)
        .map(|line| Line::raw(printable(line).into_owned()))
        .collect();
    let block = Block::new()
        .borders(ratatui::widgets::Borders::TOP)
        .title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn last_line(model: &Model) -> Line<'static> {
    let faintly = |text: String| Span::styled(text, faint());
    match &model.mode {
        Mode::Filter => Line::raw(format!("filter: {}_", model.filter)),
        Mode::Confirm(verb) => {
            let place = model.selected.as_ref().map_or_else(String::new, |place| {
                let host = place.host.as_ref().map(|host| format!(" on {host}"));
                format!("{}{}", place.program, host.unwrap_or_default())
            });
            let text = format!("{} {place}? y: yes, any other key: no", verb.word());
            Line::styled(
                printable(&text).into_owned(),
                Style::new().add_modifier(Modifier::BOLD),
            )
        }
        Mode::Table | Mode::Detail | Mode::Help => {
            let mut parts = Vec::new();
            if !model.said.is_empty() {
                parts.push(Span::raw(format!("{}  ", printable(&model.said))));
            }
            if !model.filter.is_empty() {
                parts.push(Span::raw(format!("filter: {}  ", model.filter)));
            }
            parts.push(faintly(format!("{}  {KEYS}", model.order.word())));
            Line::from(parts)
        }
    }
}

/// All that is known of the selected program.
fn detail(frame: &mut Frame<'_>, model: &mut Model, now: SystemTime) {
    let selected = model.selected.clone();
    let rows = model.rows();
    let row = rows
        .iter()
        .find(|row| row.process.is_some() && Some(model.place(row)) == selected);
    let Some((row, process)) = row.and_then(|row| Some((row, row.process.as_ref()?))) else {
        return;
    };
    let since = |at: &Option<prost_types::Timestamp>| {
        let at = at.as_ref().and_then(from_wire);
        at.map_or_else(
            || "-".to_owned(),
            |at| format!("{} ago", age_words(age(at, now))),
        )
    };
    let started = process.started_at.as_ref().and_then(from_wire);
    let uptime = started.filter(|_| process.state() == ProcessState::Running);
    let or_none = |text: &str| match text {
        "" => "-".to_owned(),
        text => printable(text).into_owned(),
    };
    let lines = [
        format!("host         {}", or_none(&row.host)),
        format!("program      {}", or_none(&row.program)),
        format!("state        {}", state_word(process.state())),
        format!("reason       {}", or_none(&process.reason)),
        format!(
            "pid          {}",
            process.pid.map_or("-".to_owned(), |pid| pid.to_string())
        ),
        format!(
            "uptime       {}",
            uptime.map_or("-".to_owned(), |at| uptime_words(age(at, now).as_secs()))
        ),
        format!(
            "in state for {}",
            since(&process.changed_at).trim_end_matches(" ago")
        ),
        format!(
            "last end     {}",
            process.exit.as_ref().map_or("-".to_owned(), exit_words)
        ),
        format!("spawn error  {}", or_none(&process.spawn_error)),
        format!(
            "restarts     {}, {} failed in a row",
            process.restarts, process.tries
        ),
        format!("log          {}", or_none(&process.log_trouble)),
        String::new(),
        "Any key closes this.".to_owned(),
    ];
    over(frame, " Detail ", &lines);
}

/// A box over the table.
fn over(frame: &mut Frame<'_>, title: &'static str, lines: &[String]) {
    let widest = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let size = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let area = frame.area();
    let [middle] = Layout::vertical([Constraint::Length(size(lines.len() + 2))])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    let [middle] = Layout::horizontal([Constraint::Length(size(widest + 4))])
        .flex(ratatui::layout::Flex::Center)
        .areas(middle);
    let text: Vec<Line<'_>> = lines
        .iter()
        .map(|line| Line::raw(format!(" {line}")))
        .collect();
    frame.render_widget(Clear, middle);
    frame.render_widget(
        Paragraph::new(text).block(Block::bordered().title(title)),
        middle,
    );
}

fn state_style(state: ProcessState, color: bool) -> Style {
    match state {
        ProcessState::Running => good(color),
        ProcessState::Starting | ProcessState::Stopping => moving(color),
        _ => bad(color),
    }
}

fn good(color: bool) -> Style {
    in_color(Color::Green, color)
}

fn bad(color: bool) -> Style {
    in_color(Color::Red, color)
}

fn moving(color: bool) -> Style {
    in_color(Color::Yellow, color)
}

fn in_color(wanted: Color, color: bool) -> Style {
    match color {
        true => Style::new().fg(wanted),
        false => Style::new(),
    }
}

fn faint() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use ratatui::{Terminal, backend::TestBackend};

    use super::{super::model::tests::some, *};

    fn drawn(model: &mut Model, width: u16, height: u16) -> String {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model, now)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = (0..height).map(|y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_table_shows_problems_first() {
        insta::assert_snapshot!(drawn(&mut some(), 90, 9));
    }

    #[test]
    fn what_is_stale_is_said_first() {
        let mut model = some();
        model.lost = Some("the controller went away".into());
        let page = drawn(&mut model, 90, 9);
        assert!(
            page.starts_with("STALE: the controller went away"),
            "{page}"
        );
    }

    #[test]
    fn help_and_detail_lie_over_the_table() {
        let mut model = some();
        model.mode = Mode::Help;
        insta::assert_snapshot!("help", drawn(&mut model, 90, 18));
        let row = model
            .rows()
            .into_iter()
            .find(|row| row.program == "db")
            .unwrap();
        model.selected = Some(model.place(&row));
        model.mode = Mode::Detail;
        insta::assert_snapshot!("detail", drawn(&mut model, 90, 18));
    }

    #[test]
    fn a_terminal_of_any_size_will_do() {
        for (width, height) in [(1, 1), (3, 2), (20, 4), (300, 100)] {
            let mut model = some();
            model.output = Some(super::super::model::Output::default());
            model.mode = Mode::Help;
            drawn(&mut model, width, height);
        }
    }
}
