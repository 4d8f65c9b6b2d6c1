//! `wait`: until programs are as they should be, for scripts.
//!
//! What is waited for is decided in [`Goal`], which is pure.

use std::time::SystemTime;

use rsv_proto::{
    process::{display_name, state_word},
    select::Settled,
    wire::{HostStatus, ProcessState},
};
use tokio::time::{Instant, sleep_until};

use super::status::{is_away, is_reachable, named_nowhere};
use crate::{
    args::{WaitArgs, WaitFor},
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    live::{Effect, Live, News},
    ui::{count, printable},
};

/// Waits.
pub(super) async fn run(invocation: &mut Invocation, args: WaitArgs) -> Result<Exit, Failure> {
    if args.programs.is_empty() {
        return Err(Failure::usage("`wait` needs a program").hint("`all` means every program"));
    }
    let scope = invocation.scope()?;
    let end = invocation
        .global
        .timeout
        .map(|timeout| Instant::now() + timeout);
    let (mut live, mut picture) = Live::open(invocation, &scope, &args.programs).await?;
    let goal = Goal {
        state: args.state,
        is_any: args.any,
    };
    loop {
        let now = SystemTime::now();
        let standing = goal.standing(picture.hosts(now));
        invocation.ui.progress(&standing.progress());
        if let Some(exit) = standing.verdict() {
            return tell(invocation, &args, &standing, exit);
        }
        let news = tokio::select! {
            news = live.next() => news,
            () = at(end) => return tell(invocation, &args, &standing, standing.given_up()),
        };
        let is_stale = match news {
            News::Happened(events) => {
                let effects = events.into_iter().map(|event| picture.apply(event));
                effects.fold(false, |stale, effect| stale | (effect == Effect::Unknown))
            }
            News::Missed | News::Retry => true,
            News::Lost(failure) => {
                invocation
                    .ui
                    .note(&format!("-- {failure}; waiting for it --"));
                false
            }
        };
        if is_stale && let Some(whole) = live.again(invocation).await {
            picture = whole;
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn tell(
    invocation: &mut Invocation,
    args: &WaitArgs,
    standing: &Standing,
    exit: Exit,
) -> Result<Exit, Failure> {
    if !invocation.ui.output().is_text() {
        let report = json::Wait {
            schema: "rsv/wait/v1",
            reached: exit == Exit::Done,
            waited_for: args.state.word(),
            missing: standing.missing.clone(),
        };
        json::print(&mut invocation.ui, &report)?;
        return Ok(exit);
    }
    if exit != Exit::Done {
        for line in &standing.missing {
            invocation.ui.line(&printable(line))?;
        }
    }
    Ok(exit)
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
struct Goal {
    state: WaitFor,
    is_any: bool,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Standing {
    reached: usize,
    /// Those that are not there yet, with what they are.
    missing: Vec<String>,
    /// Some of them cannot come there by themselves.
    is_hopeless: bool,
    /// Hosts that cannot be asked.
    silent: usize,
    is_any: bool,
    word: &'static str,
}

impl Goal {
    fn standing(self, hosts: &[HostStatus]) -> Standing {
        let mut standing = Standing {
            is_any: self.is_any,
            word: self.state.word(),
            ..Standing::default()
        };
        standing.is_hopeless = names_nothing(hosts);
        for host in hosts {
            let place = |name: String| match host.host.as_str() {
                "" => name,
                host => format!("{host} {name}"),
            };
            if is_away(host) {
                standing.silent += 1;
                standing.missing.push(place("unreachable".to_owned()));
                continue;
            }
            if !is_reachable(host) {
                standing.is_hopeless = true;
                standing.missing.push(place("is not enrolled".to_owned()));
                continue;
            }
            for program in &host.programs {
                if self.is_reached(program.state()) {
                    standing.reached += 1;
                    continue;
                }
                let name = display_name(&program.group, &program.name);
                let state = state_word(program.state());
                standing.missing.push(place(format!("{name}: {state}")));
                standing.is_hopeless |= self.is_hopeless(program.state());
            }
            for unmatched in &host.unmatched {
                let pattern = Settled::read(&unmatched.pattern);
                let pattern = pattern.program();
                standing
                    .missing
                    .push(place(format!("{pattern}: no such program")));
            }
        }
        standing
    }

    fn is_reached(self, state: ProcessState) -> bool {
        match self.state {
            // Where a program has no health check, running is as healthy as can be known.
            WaitFor::Running | WaitFor::Healthy => state == ProcessState::Running,
            WaitFor::Stopped => matches!(
                state,
                ProcessState::Stopped | ProcessState::Exited | ProcessState::Fatal
            ),
        }
    }

    /// A program that was given up does not start by itself.
    fn is_hopeless(self, state: ProcessState) -> bool {
        self.state != WaitFor::Stopped && state == ProcessState::Fatal
    }
}

/// Whether a name means nothing on any host that answers: it was mistyped.
fn names_nothing(hosts: &[HostStatus]) -> bool {
    let answering = hosts.iter().filter(|h| is_reachable(h));
    !named_nowhere(&answering.collect::<Vec<_>>()).is_empty()
}

impl Standing {
    /// How the wait ends; absent: it goes on.
    fn verdict(&self) -> Option<Exit> {
        let is_done = match self.is_any {
            true => self.reached > 0,
            false => self.missing.is_empty() && self.reached > 0,
        };
        if is_done {
            return Some(Exit::Done);
        }
        if self.reached == 0 && self.missing.is_empty() {
            return Some(Exit::NoTarget);
        }
        (self.is_hopeless && !self.is_any).then_some(Exit::SomeFailed)
    }

    fn given_up(&self) -> Exit {
        match self.missing.len() == self.silent {
            true => Exit::SomeUnreachable,
            false => Exit::GaveUpWaiting,
        }
    }

    fn progress(&self) -> String {
        let all = count(self.reached + self.missing.len(), "program");
        format!("{} of {all} {}", self.reached, self.word)
    }
}

#[cfg(test)]
mod tests {
    use rsv_proto::wire::{HostState, ProcessStatus, UnmatchedProgram};

    use super::*;

    fn hosts(states: &[ProcessState]) -> Vec<HostStatus> {
        let programs = states.iter().map(|state| ProcessStatus {
            group: "app".into(),
            name: "app".into(),
            state: (*state).into(),
            ..Default::default()
        });
        vec![HostStatus {
            host: "web1".into(),
            state: HostState::Connected.into(),
            programs: programs.collect(),
            ..Default::default()
        }]
    }

    #[test]
    fn a_wait_ends_when_all_or_any_are_there_or_when_it_is_hopeless() {
        use ProcessState::{Backoff, Exited, Fatal, Running, Starting, Stopped};
        use WaitFor::{Healthy, Running as Up, Stopped as Down};
        for (state, is_any, states, verdict) in [
            (Up, false, vec![Running, Running], Some(Exit::Done)),
            (Up, false, vec![Running, Starting], None),
            (Up, true, vec![Running, Starting], Some(Exit::Done)),
            (Up, true, vec![Fatal, Starting], None),
            (Up, false, vec![Running, Backoff], None),
            (Up, false, vec![Running, Fatal], Some(Exit::SomeFailed)),
            (Healthy, false, vec![Running], Some(Exit::Done)),
            (Down, false, vec![Stopped, Exited, Fatal], Some(Exit::Done)),
            (Down, false, vec![Running], None),
            (Up, false, vec![], Some(Exit::NoTarget)),
        ] {
            let goal = Goal { state, is_any };
            let standing = goal.standing(&hosts(&states));
            assert_eq!(standing.verdict(), verdict, "{states:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let goal = Goal {
            state: WaitFor::Running,
            is_any: false,
        };
        let mut all = hosts(&[ProcessState::Running, ProcessState::Starting]);
        all[0].unmatched.push(UnmatchedProgram {
            pattern: "x".into(),
            refusal: 0,
        });
        all.push(HostStatus {
            host: "web2".into(),
            state: HostState::Unreachable.into(),
            ..Default::default()
        });
        let standing = goal.standing(&all);
        assert_eq!(
            standing.missing,
            [
                "web1 app: STARTING",
                "web1 x: no such program",
                "web2 unreachable"
            ]
        );
        assert_eq!(standing.progress(), "1 of 4 programs running");
        assert_eq!(standing.given_up(), Exit::GaveUpWaiting);
        all[0].programs.truncate(1);
        all[0].unmatched.clear();
        assert_eq!(goal.standing(&all).given_up(), Exit::SomeUnreachable);
        all.remove(0);
        let silent = goal.standing(&all);
        assert_eq!(silent.verdict(), None);
        assert_eq!(silent.given_up(), Exit::SomeUnreachable);
    }

    #[test]
    fn a_host_that_is_not_enrolled_is_not_waited_for() {
        let mut all = hosts(&[ProcessState::Running]);
        all.push(HostStatus {
            host: "web9".into(),
            ..Default::default()
        });
        let goal = |is_any| Goal {
            state: WaitFor::Running,
            is_any,
        };
        let standing = goal(false).standing(&all);
        assert_eq!(standing.missing, ["web9 is not enrolled"]);
        assert_eq!(standing.verdict(), Some(Exit::SomeFailed));
        assert_eq!(goal(true).standing(&all).verdict(), Some(Exit::Done));
    }
}
