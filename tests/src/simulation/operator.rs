//! Somebody at a terminal who has much done: submits, repeats, pauses, disables, and reads what is told.
//!
//! Reading is how the laws of operations are checked. What was told of one is never taken back, not even
//! by a controller that starts anew; each target ends once, and only what was a target; the same key is the
//! same operation; events have growing numbers.

use std::collections::{BTreeMap, BTreeSet};

use rsv_controller::{
    desired::{Change, HostDesired, Wanted},
    hub::{
        Ask, Control, Controlled, Event as HubEvent, Page, Retry, Submission, SubmitError,
        Submitted,
    },
    operation::Told,
};
use rsv_proto::name::HostName;
use tokio::sync::{oneshot, watch};

use super::{
    controller::Controller,
    errand::{errand, nothing},
    meaning::Meaning,
    world::{Event, Stage},
};

/// What an operator waits for.
type Answer = oneshot::Receiver<Result<Submitted, SubmitError>>;

/// The operator.
#[derive(Debug, Default)]
pub(super) struct Operator {
    watched: BTreeMap<String, Watched>,
    waiting: Vec<(Submission, Answer)>,
    /// Submissions with a key that were not answered.
    unanswered: Vec<Submission>,
    /// Which operation each key is.
    keys: BTreeMap<String, (String, Submission)>,
    last_id: u64,
    next_event: Option<u64>,
    /// The controller's start that the events are read of.
    pub(super) n_results: usize,
    controls: Vec<oneshot::Receiver<Controlled>>,
    /// Who waits until a host keeps to what is wanted of it.
    obeying: Vec<(HostName, u64, oneshot::Receiver<()>)>,
}

/// An operation that was answered for.
#[derive(Debug, Default)]
struct Watched {
    told: Vec<Told>,
    ended: BTreeSet<(String, String)>,
    is_over: bool,
    news: Option<watch::Receiver<u64>>,
}

impl Operator {
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Does something.
    pub(super) fn act(
        &mut self,
        stage: &mut Stage,
        controller: &mut Controller,
        hosts: &[HostName],
    ) {
        match stage.dice.below(20) {
            0..9 => self.submit_new(stage, controller),
            9..11 => self.repeat(stage, controller),
            11..14 => self.control(stage, controller),
            14 => self.retry(stage, controller),
            _ => self.want(stage, controller, hosts),
        }
    }

    fn submit_new(&mut self, stage: &mut Stage, controller: &mut Controller) {
        let id = self.new_id(stage);
        let submission = errand(stage, id);
        self.submit(stage, controller, submission);
    }

    fn submit(&mut self, stage: &mut Stage, controller: &mut Controller, what: Submission) {
        stage.witness.asked_for(&what.id, Meaning::of(&what));
        let asked = Box::new(what.clone());
        match controller.ask(stage, |answer| Ask::Submit(asked, answer)) {
            Some(answer) => self.waiting.push((what, answer)),
            None if !what.key.is_empty() => self.unanswered.push(what),
            None => {}
        }
    }

    /// Says once more what was said before, as a script does that was not answered, or is run again.
    fn repeat(&mut self, stage: &mut Stage, controller: &mut Controller) {
        if let Some(mut what) = self.unanswered.pop() {
            what.id = self.new_id(stage);
            return self.submit(stage, controller, what);
        }
        if self.keys.is_empty() {
            return;
        }
        let place = stage.dice.below(self.keys.len());
        let known = self.keys.values().nth(place).map(|(_, what)| what.clone());
        if let Some(mut what) = known {
            what.id = self.new_id(stage);
            self.submit(stage, controller, what);
        }
    }

    fn retry(&mut self, stage: &mut Stage, controller: &mut Controller) {
        let over = self.watched.iter().filter(|(_, watched)| watched.is_over);
        let over: Vec<String> = over.map(|(id, _)| id.clone()).collect();
        if over.is_empty() {
            return;
        }
        let operation = over[stage.dice.below(over.len())].clone();
        let retry = Box::new(Retry {
            id: self.new_id(stage),
            operation,
            failed_only: stage.dice.chance(500),
            actor: "operator/ann".into(),
            key: String::new(),
            trace: Default::default(),
        });
        stage.witness.asked_again(&retry.id, &retry.operation);
        let answer = controller.ask(stage, |answer| Ask::Retry(retry, answer));
        if let Some(answer) = answer {
            self.waiting.push((nothing(), answer));
        }
    }

    fn control(&mut self, stage: &mut Stage, controller: &mut Controller) {
        let open = self.watched.iter().filter(|(_, watched)| !watched.is_over);
        let open: Vec<String> = open.map(|(id, _)| id.clone()).collect();
        if open.is_empty() {
            return;
        }
        let id = open[stage.dice.below(open.len())].clone();
        let what = [Control::Pause, Control::Resume, Control::Cancel];
        let what = stage.dice.one_of(&what);
        self.tell(stage, controller, id, what);
    }

    fn tell(&mut self, stage: &mut Stage, controller: &mut Controller, id: String, what: Control) {
        let who = "operator/bob".to_owned();
        let answer = controller.ask(stage, |answer| Ask::Control(id, what, who, answer));
        self.controls.extend(answer);
    }

    /// Disables, drains and lets go. It is durable before the hub hears of it, as in the product.
    fn want(&mut self, stage: &mut Stage, controller: &mut Controller, hosts: &[HostName]) {
        if !controller.is_up() {
            return;
        }
        let wanted = Wanted {
            reason: "trouble".into(),
            actor: "operator/ann".into(),
            since: 7,
        };
        let programs = vec![("app".to_owned(), "app".to_owned())];
        let change = match stage.dice.below(6) {
            0..2 => Change::Disable(programs, wanted),
            2..4 => Change::Enable(programs),
            4 => Change::Drain(wanted),
            _ => Change::Resume,
        };
        let mut changed = Vec::new();
        for _ in 0..=stage.dice.below(6) {
            let host = &hosts[stage.dice.below(stage.focus)];
            let desired = controller.store.change(host, change.clone());
            changed.push((host.clone(), desired));
        }
        let pause = stage.dice.millis(0, 50);
        let event = Event::Desire(controller.starts, changed);
        stage.schedule.after(pause, event);
    }

    /// What is wanted reaches the hub; it is waited for that the hosts keep to it.
    pub(super) fn desire(
        &mut self,
        stage: &mut Stage,
        controller: &mut Controller,
        start: u64,
        changed: Vec<(HostName, HostDesired)>,
    ) {
        if controller.starts != start {
            return;
        }
        let generations = changed.iter();
        let generations: Vec<(HostName, u64)> = generations
            .map(|(host, desired)| (host.clone(), desired.generation))
            .collect();
        let (answer, _) = oneshot::channel();
        controller.handle(stage, HubEvent::Ask(Ask::Desire(changed, answer)));
        for (host, generation) in generations {
            let asked = host.clone();
            let answer = controller.ask(stage, |answer| Ask::WhenObeyed(asked, generation, answer));
            self.obeying
                .extend(answer.map(|answer| (host, generation, answer)));
        }
    }

    /// Nobody may be told too early that a host keeps to what is wanted of it.
    fn read_obeyed(&mut self, stage: &mut Stage) {
        self.obeying.retain_mut(|(host, generation, answer)| {
            let answered = answer.try_recv();
            if answered.is_ok()
                && let Some(number) = number_of(host.as_str())
            {
                stage.witness.told_obeyed(number, *generation);
            }
            answered == Err(oneshot::error::TryRecvError::Empty)
        });
    }

    /// Reads what has been answered and told.
    pub(super) fn read(&mut self, stage: &mut Stage, controller: &mut Controller) {
        self.read_obeyed(stage);
        for (what, mut answer) in std::mem::take(&mut self.waiting) {
            match answer.try_recv() {
                Ok(Ok(submitted)) => self.answered(stage, what, submitted),
                Ok(Err(SubmitError::NotWritten)) | Err(oneshot::error::TryRecvError::Closed) => {
                    if !what.key.is_empty() {
                        self.unanswered.push(what);
                    }
                }
                Ok(Err(SubmitError::Operand(why))) => {
                    stage.witness.refused(&what.id, &why);
                }
                Ok(Err(_)) => {}
                Err(oneshot::error::TryRecvError::Empty) => self.waiting.push((what, answer)),
            }
        }
        let has_news = |watched: &Watched| {
            let news = watched.news.as_ref();
            news.is_some_and(|news| news.has_changed().unwrap_or(true))
        };
        let news = self.watched.iter().filter(|(_, watched)| has_news(watched));
        let ids: Vec<String> = news.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.read_story(stage, controller, &id);
        }
    }

    fn answered(&mut self, stage: &mut Stage, what: Submission, submitted: Submitted) {
        let id = submitted.id;
        let hosts = submitted.hosts.iter();
        let hosts = hosts.filter_map(|host| number_of(host.as_str()));
        stage.witness.begun_on(&id, &hosts.collect());
        if !what.key.is_empty() {
            let known = self.keys.entry(what.key.clone());
            let known = &known.or_insert_with(|| (id.clone(), what)).0;
            if *known != id {
                stage
                    .witness
                    .breaks(|| format!("one key is two operations, {known} and {id}"));
            }
        }
        let watched = self.watched.entry(id).or_default();
        watched.news = submitted.news;
        if let Some(news) = &mut watched.news {
            news.mark_changed();
        }
    }

    fn read_story(&mut self, stage: &mut Stage, controller: &mut Controller, id: &str) {
        loop {
            let Some(watched) = self.watched.get_mut(id) else {
                return;
            };
            if let Some(news) = &mut watched.news {
                news.mark_unchanged();
            }
            let after = watched.told.len();
            let page = controller.ask(stage, |answer| Ask::Story(id.to_owned(), after, answer));
            let Some(Some(page)) = page.and_then(|mut page| page.try_recv().ok()) else {
                watched.news = None;
                return;
            };
            let is_all = page.is_all;
            self.n_results += page.told.len();
            watched.hear(stage, id, page);
            if is_all {
                return;
            }
        }
    }

    /// A new controller has started: what it tells must begin with what the one before has told.
    pub(super) fn watch_again(&mut self, stage: &mut Stage, controller: &mut Controller) {
        let ids: Vec<String> = self.watched.keys().cloned().collect();
        for id in ids {
            let asked = id.clone();
            let answer = controller.ask(stage, |answer| Ask::Watch(asked, false, answer));
            let submitted = answer.and_then(|mut answer| answer.try_recv().ok());
            let Some(Ok(submitted)) = submitted else {
                stage
                    .witness
                    .breaks(|| format!("operation {id} was answered for and is not known"));
                continue;
            };
            let Some(watched) = self.watched.get_mut(&id) else {
                continue;
            };
            watched.news = submitted.news;
            let told = std::mem::take(&mut watched.told);
            watched.ended.clear();
            self.read_story(stage, controller, &id);
            if let Some(watched) = self.watched.get(&id)
                && !watched.told.starts_with(&told)
            {
                let (before, after) = (told.len(), watched.told.len());
                let differs = told.iter().zip(&watched.told).find(|(a, b)| a != b);
                let differs = format!("{differs:?}");
                stage.witness.breaks(|| {
                    format!("what was told of {id} is taken back: {before}, {after}: {differs}")
                });
            }
        }
    }

    /// Reads the events that are new.
    pub(super) fn read_events(&mut self, stage: &mut Stage, controller: &mut Controller) {
        let from = self.next_event;
        let answer = controller.ask(stage, |answer| Ask::Events(from, answer));
        let Some((page, _)) = answer.and_then(|mut answer| answer.try_recv().ok()) else {
            return;
        };
        let mut last = from.map_or(0, |from| from.saturating_sub(1));
        for event in &page.events {
            if event.seq <= last {
                let seq = event.seq;
                stage
                    .witness
                    .breaks(|| format!("event {seq} comes after event {last}"));
            }
            last = event.seq;
        }
        self.next_event = Some(page.next);
    }

    /// Lets everything go on that stands still, or ends it: one that waits for too much that is down waits
    /// for ever.
    pub(super) fn clean_up(
        &mut self,
        stage: &mut Stage,
        controller: &mut Controller,
        what: Control,
    ) {
        let open = self.watched.iter().filter(|(_, watched)| !watched.is_over);
        let open: Vec<String> = open.map(|(id, _)| id.clone()).collect();
        for id in open {
            self.tell(stage, controller, id, what);
        }
        self.controls.clear();
    }

    /// An operation that is not over.
    pub(super) fn open(&self) -> Option<&String> {
        let mut open = self.watched.iter().filter(|(_, watched)| !watched.is_over);
        open.next().map(|(id, _)| id)
    }

    fn new_id(&mut self, stage: &Stage) -> String {
        self.last_id += 1;
        let millis = stage.schedule.now().as_millis();
        format!("{millis:010}{:016}", self.last_id)
    }
}

impl Watched {
    fn hear(&mut self, stage: &mut Stage, id: &str, page: Page) {
        for told in page.told {
            if let Told::Result(result) = &told {
                if let Some(host) = number_of(&result.host) {
                    stage.witness.told_of(id, host, result);
                }
                let target = (result.host.clone(), result.program.clone());
                let shown = format!("{} {}", result.host, result.program);
                if !self.ended.insert(target) {
                    stage
                        .witness
                        .breaks(|| format!("operation {id} tells of {shown} twice"));
                }
            }
            if self.is_over && page.end.is_none() {
                stage
                    .witness
                    .breaks(|| format!("operation {id} was over and goes on"));
            }
            self.told.push(told);
        }
        self.is_over |= page.end.is_some();
    }
}

/// Which host has this name.
fn number_of(host: &str) -> Option<usize> {
    let number: usize = host.strip_prefix('h')?.parse().ok()?;
    number.checked_sub(1)
}
