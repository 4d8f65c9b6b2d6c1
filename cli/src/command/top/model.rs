//! What is shown and what keys mean. Pure: inputs go in, what is asked for comes out.

use std::{cmp::Ordering, collections::VecDeque, time::SystemTime};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rsv_proto::{
    name::natural_order,
    process::display_name,
    time::from_wire,
    wire::{Event, HostStatus, ProcessState, ProcessStatus},
};

use crate::{
    command::{
        act,
        status::{is_away, is_reachable},
    },
    live::{Effect, Picture},
};

/// The most lines of output that are kept.
const MAX_LINES: usize = 500;

/// The longest line of output that is kept.
const MAX_LINE: usize = 4096;

/// Everything that is shown.
pub(super) struct Model {
    picture: Picture,
    pub(super) is_fleet: bool,
    pub(super) color: bool,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) order: Order,
    /// The program the next key is about.
    pub(super) selected: Option<Place>,
    /// The first row that is shown; the view keeps the selected one in sight.
    pub(super) top: usize,
    /// Why what is shown is no longer true.
    pub(super) lost: Option<String>,
    /// What came of the last action.
    pub(super) said: String,
    pub(super) output: Option<Output>,
}

/// What keys do now.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    /// They move and act.
    Table,
    /// They are the filter.
    Filter,
    /// They answer whether to act.
    Confirm(act::Asked),
    /// Any key closes what is shown of one program.
    Detail,
    /// Any key closes the explanation.
    Help,
}

/// In which order rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Problems,
    Host,
    Program,
    Newest,
    Restarts,
}

/// A program on a host; on this machine without a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Option<String>,
    /// As shown: `name` or `group:name`.
    pub(super) program: String,
}

/// Output that is followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Output {
    pub(super) lines: VecDeque<String>,
    /// The line that is not ended yet.
    rest: Vec<u8>,
}

/// Something that happened.
pub(super) enum Input {
    Key(KeyEvent),
    Whole(Picture),
    Happened(Vec<Event>),
    Lost(String),
    /// What came of an action.
    Said(String),
    /// Bytes of the output that is followed.
    Output(Vec<u8>),
    Nothing,
}

/// Something to do.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    Quit,
    /// Take the picture anew.
    Again,
    Act(Place, act::Asked),
    Follow(Place),
    Unfollow,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) host: String,
    pub(super) program: String,
    /// Absent: the row is about the host.
    pub(super) process: Option<ProcessStatus>,
    /// Whether what is shown is so now.
    pub(super) is_true: bool,
    /// Whether the fleet has such a host.
    pub(super) is_enrolled: bool,
    /// When what is shown was true.
    pub(super) as_of: Option<SystemTime>,
    pub(super) reason: String,
}

impl Model {
    pub(super) fn new(picture: Picture, is_fleet: bool) -> Self {
        Self {
            picture,
            is_fleet,
            color: true,
            mode: Mode::Table,
            filter: String::new(),
            order: Order::Problems,
            selected: None,
            top: 0,
            lost: None,
            said: String::new(),
            output: None,
        }
    }

    /// The hosts as they are now.
    pub(super) fn hosts(&mut self, now: SystemTime) -> &[HostStatus] {
        self.picture.hosts(now)
    }

    /// Takes an input in and says what is to be done.
    pub(super) fn handle(&mut self, input: Input) -> Vec<Asked> {
        match input {
            Input::Key(key) => self.key(key),
            Input::Whole(picture) => {
                self.picture = picture;
                self.lost = None;
                Vec::new()
            }
            Input::Happened(events) => {
                let effects: Vec<Effect> = events
                    .into_iter()
                    .map(|event| self.picture.apply(event))
                    .collect();
                match effects.contains(&Effect::Unknown) {
                    true => vec![Asked::Again],
                    false => Vec::new(),
                }
            }
            Input::Lost(reason) => {
                self.lost = Some(reason);
                Vec::new()
            }
            Input::Said(text) => {
                self.said = text;
                Vec::new()
            }
            Input::Output(bytes) => {
                if let Some(output) = &mut self.output {
                    output.push(&bytes);
                }
                Vec::new()
            }
            Input::Nothing => Vec::new(),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Asked> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return vec![Asked::Quit];
        }
        match self.mode.clone() {
            Mode::Table => self.table_key(key.code),
            Mode::Filter => {
                self.filter_key(key.code);
                Vec::new()
            }
            Mode::Confirm(verb) => {
                self.mode = Mode::Table;
                match (key.code, self.selected.clone()) {
                    (KeyCode::Char('y' | 'Y'), Some(place)) => {
                        self.said = format!("{} …", verb.word());
                        vec![Asked::Act(place, verb)]
                    }
                    _ => {
                        self.said = "nothing was done".to_owned();
                        Vec::new()
                    }
                }
            }
            Mode::Detail | Mode::Help => {
                self.mode = Mode::Table;
                Vec::new()
            }
        }
    }

    fn filter_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if !c.is_control() => self.filter.push(c),
            _ => {}
        }
    }

    fn table_key(&mut self, code: KeyCode) -> Vec<Asked> {
        match code {
            KeyCode::Char('q') if self.output.is_none() => return vec![Asked::Quit],
            KeyCode::Char('q' | 'f') | KeyCode::Esc if self.output.is_some() => {
                self.output = None;
                return vec![Asked::Unfollow];
            }
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('o') => self.order = self.order.next(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(20),
            KeyCode::PageUp => self.step(-20),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Enter if self.selected.is_some() => self.mode = Mode::Detail,
            KeyCode::Char('r') => self.ask(act::Asked::Restart),
            KeyCode::Char('s') => self.ask(act::Asked::Stop),
            KeyCode::Char('S') => self.ask(act::Asked::Start),
            KeyCode::Char('f') => {
                if let Some(place) = self.selected.clone() {
                    self.output = Some(Output::default());
                    return vec![Asked::Follow(place)];
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn ask(&mut self, verb: act::Asked) {
        match self.selected {
            Some(_) => self.mode = Mode::Confirm(verb),
            None => "select a program first: arrows, or j and k".clone_into(&mut self.said),
        }
    }

    /// Moves the selection by so many rows that are about a program.
    fn step(&mut self, by: isize) {
        let rows = self.rows();
        let places: Vec<Place> = rows
            .iter()
            .filter(|row| row.process.is_some())
            .map(|row| self.place(row))
            .collect();
        let Some(last) = places.len().checked_sub(1) else {
            self.selected = None;
            return;
        };
        let at = places
            .iter()
            .position(|place| Some(place) == self.selected.as_ref());
        let next = match at {
            Some(at) => at.saturating_add_signed(by).min(last),
            None if by > 1 => last,
            None => 0,
        };
        self.selected = Some(places[next].clone());
    }

    /// What a row is about.
    pub(super) fn place(&self, row: &Row) -> Place {
        Place {
            host: self.is_fleet.then(|| row.host.clone()),
            program: row.program.clone(),
        }
    }

    /// The rows that the filter leaves, in order.
    pub(super) fn rows(&mut self) -> Vec<Row> {
        let filter = self.filter.to_lowercase();
        let order = self.order;
        let hosts = self.picture.hosts(SystemTime::now());
        let mut rows: Vec<Row> = hosts.iter().flat_map(rows_of).collect();
        rows.retain(|row| row.contains(&filter));
        rows.sort_by(|a, b| order.compare(a, b));
        rows
    }
}

fn rows_of(host: &HostStatus) -> impl Iterator<Item = Row> + '_ {
    let row = move |program: String, process: Option<ProcessStatus>| Row {
        host: host.host.clone(),
        program,
        process,
        is_true: is_reachable(host),
        is_enrolled: is_reachable(host) || is_away(host),
        as_of: host.as_of.as_ref().and_then(from_wire),
        reason: host.reason.clone(),
    };
    let own = (!is_reachable(host)).then(|| row(String::new(), None));
    let programs = host.programs.iter().map(move |process| {
        row(
            display_name(&process.group, &process.name),
            Some(process.clone()),
        )
    });
    own.into_iter().chain(programs)
}

impl Row {
    fn contains(&self, filter: &str) -> bool {
        let state = self.process.as_ref().map(ProcessStatus::state);
        let state = state.map_or("unreachable", rsv_proto::process::state_word);
        filter.split_whitespace().all(|word| {
            let texts = [self.host.as_str(), self.program.as_str(), state];
            texts.iter().any(|text| text.to_lowercase().contains(word))
        })
    }

    /// How soon a person should look: the lowest first.
    fn weight(&self) -> u8 {
        let Some(process) = &self.process else {
            return 0;
        };
        match process.state() {
            _ if !self.is_true => 1,
            ProcessState::Fatal => 2,
            ProcessState::Backoff | ProcessState::Unknown | ProcessState::Unspecified => 3,
            ProcessState::Exited => 4,
            _ if !process.log_trouble.is_empty() => 5,
            ProcessState::Stopped => 6,
            ProcessState::Starting | ProcessState::Stopping => 7,
            ProcessState::Running => 8,
        }
    }

    fn started(&self) -> (i64, i32) {
        let at = self.process.as_ref().and_then(|process| process.started_at);
        at.map_or((0, 0), |at| (at.seconds, at.nanos))
    }

    fn restarts(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.restarts)
    }
}

impl Order {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Problems => "problems first",
            Self::Host => "by host",
            Self::Program => "by program",
            Self::Newest => "newest first",
            Self::Restarts => "most restarts first",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Problems => Self::Host,
            Self::Host => Self::Program,
            Self::Program => Self::Newest,
            Self::Newest => Self::Restarts,
            Self::Restarts => Self::Problems,
        }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let by_host = || natural_order(&a.host, &b.host).then_with(|| a.program.cmp(&b.program));
        match self {
            Self::Problems => a.weight().cmp(&b.weight()).then_with(by_host),
            Self::Host => by_host(),
            Self::Program => a.program.cmp(&b.program).then_with(by_host),
            Self::Newest => b.started().cmp(&a.started()).then_with(by_host),
            Self::Restarts => b.restarts().cmp(&a.restarts()).then_with(by_host),
        }
    }
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || self.rest.len() >= MAX_LINE {
                let line = String::from_utf8_lossy(&self.rest).into_owned();
                self.rest.clear();
                if self.lines.len() == MAX_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            }
            if byte != b'\n' {
                self.rest.push(byte);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rsv_proto::{time::to_wire, wire::HostState};

    use super::*;

    pub(in crate::command::top) fn some() -> Model {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let program = |name: &str, state: ProcessState, seconds: u64, restarts| ProcessStatus {
            group: name.into(),
            name: name.into(),
            state: state.into(),
            pid: (state == ProcessState::Running).then_some(4242),
            started_at: Some(to_wire(now - Duration::from_secs(seconds))),
            restarts,
            spawn_error: match state {
                ProcessState::Fatal => "can't find command '/opt/app'".into(),
                _ => String::new(),
            },
            ..Default::default()
        };
        let host = |name: &str, state: HostState, programs| HostStatus {
            host: name.into(),
            state: state.into(),
            as_of: Some(to_wire(now - Duration::from_secs(30))),
            programs,
            ..Default::default()
        };
        let mut silent = host(
            "web2",
            HostState::Unreachable,
            vec![program("app", ProcessState::Running, 900, 0)],
        );
        silent.reason = "silent for 15s".into();
        let hosts = vec![
            host(
                "web1",
                HostState::Connected,
                vec![
                    program("app", ProcessState::Running, 60, 2),
                    program("db", ProcessState::Fatal, 5, 7),
                ],
            ),
            silent,
            host(
                "web10",
                HostState::Connected,
                vec![program("app", ProcessState::Running, 600, 0)],
            ),
        ];
        Model::new(Picture::new(hosts, Vec::new()), true)
    }

    fn press(model: &mut Model, keys: &str) -> Vec<Asked> {
        let mut asked = Vec::new();
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            asked.extend(model.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE))));
        }
        asked
    }

    fn rows(model: &mut Model) -> Vec<String> {
        let rows = model.rows();
        rows.iter()
            .map(|row| format!("{} {}", row.host, row.program))
            .collect()
    }

    #[test]
    fn problems_come_first_and_other_orders_follow() {
        let mut model = some();
        let problems = ["web2 ", "web2 app", "web1 db", "web1 app", "web10 app"];
        assert_eq!(rows(&mut model), problems);
        press(&mut model, "o");
        assert_eq!(rows(&mut model)[0], "web1 app");
        press(&mut model, "oo");
        assert_eq!(rows(&mut model)[0], "web1 db", "the newest");
        press(&mut model, "o");
        assert_eq!(rows(&mut model)[0], "web1 db", "the most restarts");
    }

    #[test]
    fn a_filter_leaves_rows_that_hold_all_its_words() {
        let mut model = some();
        press(&mut model, "/web1 fatal\n");
        assert_eq!(rows(&mut model), ["web1 db"]);
        press(&mut model, "\x1b");
        assert_eq!(rows(&mut model).len(), 5);
    }

    #[test]
    fn an_action_is_confirmed_and_is_about_the_selected_program() {
        let mut model = some();
        assert_eq!(press(&mut model, "r"), []);
        assert!(model.said.starts_with("select a program"));
        press(&mut model, "jj");
        let place = Place {
            host: Some("web1".into()),
            program: "db".into(),
        };
        assert_eq!(press(&mut model, "rn"), []);
        let asked = press(&mut model, "ry");
        assert_eq!(asked, [Asked::Act(place.clone(), act::Asked::Restart)]);
        // The selection stays with its program when the order changes.
        press(&mut model, "o");
        assert_eq!(model.selected, Some(place.clone()));
        assert_eq!(press(&mut model, "f"), [Asked::Follow(place)]);
        model.handle(Input::Output(b"one\ntwo".to_vec()));
        model.handle(Input::Output(b" more\n".to_vec()));
        let lines = model.output.as_ref().map(|output| output.lines.clone());
        assert_eq!(lines.unwrap_or_default(), ["one", "two more"]);
        assert_eq!(press(&mut model, "q"), [Asked::Unfollow]);
        assert_eq!(press(&mut model, "q"), [Asked::Quit]);
    }

    #[test]
    fn what_is_kept_of_output_is_bounded() {
        let mut output = Output::default();
        output.push("x\n".repeat(MAX_LINES + 5).as_bytes());
        output.push(&vec![b'y'; 3 * MAX_LINE]);
        assert_eq!(output.lines.len(), MAX_LINES);
        assert!(output.rest.len() <= MAX_LINE);
    }
}
