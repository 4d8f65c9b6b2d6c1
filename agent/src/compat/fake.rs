//! An agent for the tests of the front: it holds the processes it is given, notes what it is asked,
//! and refuses what it is told to refuse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use rsv_config::host::FixedHost;
use rsv_config::{Config, LogTarget, Overrides, Strictness, load_str};
use rsv_keeper::message::Channel;
use rsv_proto::wire::action::Verb;
use rsv_proto::wire::{Outcome, ProcessState, ProcessStatus, Refusal, TargetResult};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::supervision::{Answer, Configured, Denied, End, Reread, Supervision};
use crate::hub::Key;
use crate::logbook::{Cursor, TailItem};
use crate::mainlog::{MainLog, Written};

/// The fake.
#[derive(Debug)]
pub(crate) struct Fake {
    processes: Mutex<Vec<ProcessStatus>>,
    changes: watch::Sender<u64>,
    configured: Arc<Configured>,
    /// What an action on a process comes to; without an entry it is done.
    refusals: BTreeMap<String, (Outcome, Refusal, String)>,
    /// Whether results come only after the answer.
    is_slow: bool,
    pub(crate) is_ending: AtomicBool,
    /// Everything that was asked, in words.
    pub(crate) asked: Mutex<Vec<String>>,
}

/// Programs `a` (RUNNING, with a log), `b` (STOPPED), `grp:one` and `grp:two` (RUNNING, FATAL).
pub(crate) fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "[supervisord]\nidentifier=fake\nlogfile={directory}/main.log\n\
         [program:a]\ncommand=/bin/cat\npriority=2\nstdout_logfile={directory}/a.log\n\
         stderr_logfile=NONE\n[program:b]\ncommand=/bin/sleep 9\nautostart=false\npriority=1\n\
         stdout_logfile={directory}/b.log\n\
         [program:one]\ncommand=/bin/sleep 9\n[program:two]\ncommand=/bin/sleep 9\n\
         [group:grp]\nprograms=one,two\n[group:empty]\nprograms=\n"
    )
}

impl Fake {
    pub(crate) fn new(directory: &Path) -> Self {
        let (file, text) = (directory.join("s.conf"), configuration(directory));
        let (overrides, host) = (Overrides::default(), FixedHost::default());
        let loaded = load_str(&text, &file, &overrides, Strictness::Lenient, &host).unwrap();
        let config = Arc::new(loaded.config);
        let log_file = |key: &Key, channel| log_file(&config, directory, key, channel);
        let configured = Configured::new(Arc::clone(&config), &config.groups, log_file);
        let processes = [
            process("a", "a", ProcessState::Running),
            process("b", "b", ProcessState::Stopped),
            process("grp", "one", ProcessState::Running),
            process("grp", "two", ProcessState::Fatal),
        ];
        Self {
            processes: Mutex::new(processes.into()),
            changes: watch::Sender::new(0),
            configured: Arc::new(configured),
            refusals: BTreeMap::new(),
            is_slow: false,
            is_ending: AtomicBool::new(false),
            asked: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn with(self, process: ProcessStatus) -> Self {
        self.change(|processes| processes.push(process));
        self
    }

    /// Changes what is supervised, as everybody who waits for it will see.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<ProcessStatus>)) {
        change(&mut self.processes.lock().unwrap());
        self.changes.send_modify(|number| *number += 1);
    }

    pub(crate) fn refusing(mut self, name: &str, refusal: Refusal, detail: &str) -> Self {
        let is_benign = matches!(refusal, Refusal::AlreadyStarted | Refusal::NotRunning);
        let outcome = match is_benign {
            true => Outcome::Done,
            false => Outcome::Failed,
        };
        let refused = (outcome, refusal, detail.to_owned());
        self.refusals.insert(name.to_owned(), refused);
        self
    }

    pub(crate) fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    fn result(&self, key: &Key) -> TargetResult {
        let program = key.to_string();
        let (outcome, refusal, detail) = self.refusals.get(&program).cloned().unwrap_or((
            Outcome::Done,
            Refusal::Unspecified,
            String::new(),
        ));
        TargetResult {
            program,
            outcome: outcome.into(),
            refusal: refusal.into(),
            detail,
            ..Default::default()
        }
    }
}

pub(crate) fn process(group: &str, name: &str, state: ProcessState) -> ProcessStatus {
    let is_up = state == ProcessState::Running;
    ProcessStatus {
        group: group.into(),
        name: name.into(),
        state: state.into(),
        pid: is_up.then_some(42),
        ..Default::default()
    }
}

fn log_file(config: &Config, directory: &Path, key: &Key, channel: Channel) -> Option<PathBuf> {
    let mut processes = config.processes();
    let process = processes.find(|one| one.id.group == key.group && one.id.name == key.name)?;
    let stream = match channel {
        Channel::Stdout => &process.stdout,
        Channel::Stderr => &process.stderr,
        Channel::Stdin => return None,
    };
    match &stream.log {
        LogTarget::File(path) => Some(path.clone()),
        LogTarget::Auto => Some(directory.join(format!("{key}-auto.log"))),
        LogTarget::Discard => None,
    }
}

fn ready<T: Send + 'static>(answer: Result<T, Denied>) -> Answer<'static, T> {
    std::future::ready(answer).boxed()
}

impl Supervision for Fake {
    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn notice(&self) -> String {
        String::new()
    }

    fn processes(&self) -> Answer<'_, Vec<ProcessStatus>> {
        ready(Ok(self.processes.lock().unwrap().clone()))
    }

    fn act(&self, keys: &[Key], verb: Verb) -> Answer<'_, mpsc::Receiver<TargetResult>> {
        let word = match verb {
            Verb::Start(_) => "start".to_owned(),
            Verb::Stop(_) => "stop".to_owned(),
            Verb::Restart(_) => "restart".to_owned(),
            Verb::Signal(signal) => format!("signal {}", signal.signal),
            other => format!("{other:?}"),
        };
        let names: Vec<_> = keys.iter().map(ToString::to_string).collect();
        self.note(format!("{word} {}", names.join(" ")));
        let (sender, receiver) = mpsc::channel(keys.len().max(1));
        let results: Vec<_> = keys.iter().map(|key| self.result(key)).collect();
        let send = move || {
            // Any order but the asked one.
            for result in results.into_iter().rev() {
                sender.try_send(result).ok();
            }
        };
        if self.is_slow {
            tokio::spawn(async move { send() });
        } else {
            send();
        }
        ready(Ok(receiver))
    }

    fn follow(&self, key: &Key, _: Channel, last: u64) -> BoxStream<'static, TailItem> {
        let data = format!("{last} of {key}\n").into_bytes();
        let at = Cursor {
            log_id: Uuid::nil(),
            offset: 0,
        };
        let first = stream::iter([TailItem::Chunk {
            at,
            data,
            live: false,
        }]);
        first.chain(stream::pending()).boxed()
    }

    fn main_log_written(&self) -> Written {
        MainLog::default().written()
    }

    fn clear(&self, key: &Key) -> Answer<'_, ()> {
        self.note(format!("clear {key}"));
        match self.refusals.contains_key(&key.to_string()) {
            true => ready(Err(Denied::Failed("disk".into()))),
            false => ready(Ok(())),
        }
    }

    fn clear_main_log(&self) -> Answer<'_, ()> {
        self.note("clear main log");
        ready(Ok(()))
    }

    fn write_stdin(&self, key: &Key, bytes: Vec<u8>) -> Answer<'_, ()> {
        self.note(format!("stdin {key} {}", String::from_utf8_lossy(&bytes)));
        ready(match key.name == "b" {
            true => Err(Denied::NotRunning),
            false => Ok(()),
        })
    }

    fn announce(&self, kind: String, data: Vec<u8>) -> Answer<'_, ()> {
        self.note(format!("event {kind} {}", String::from_utf8_lossy(&data)));
        ready(Ok(()))
    }

    fn reread(&self) -> Answer<'_, Reread> {
        ready(Ok(Reread {
            added: vec!["new".into()],
            changed: Vec::new(),
            removed: vec!["old".into()],
        }))
    }

    fn add_group(&self, name: &str) -> Answer<'_, ()> {
        ready(match name {
            "new" => Ok(()),
            "a" => Err(Denied::AlreadyAdded),
            _ => Err(Denied::NoSuchGroup),
        })
    }

    fn remove_group(&self, name: &str) -> Answer<'_, ()> {
        ready(match name {
            "b" => Ok(()),
            "a" => Err(Denied::StillRunning),
            _ => Err(Denied::NoSuchGroup),
        })
    }

    fn end(&self, how: End) -> Answer<'_, ()> {
        self.note(format!("{how:?}"));
        ready(Ok(()))
    }
}
