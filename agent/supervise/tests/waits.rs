//! Stories of asks: what each came to, over the changes of the machine and the asks after it.

use rsv_supervise::{
    Ask, Attempt, Effect, Event, Exit, Observation, Opened, Phase, Policy, Refusal, Retries, Step,
    Tick, Verdict, Wait, step,
};

/// A machine and those who wait for it, as a driver keeps them.
#[derive(Default)]
struct Machine {
    phase: Phase,
    policy: Policy,
    now: u64,
    waits: Vec<(usize, Wait)>,
    verdicts: Vec<Option<Verdict>>,
}

impl Machine {
    fn ask(&mut self, ask: Ask) -> usize {
        for (id, wait) in std::mem::take(&mut self.waits) {
            match wait.overtaken(ask) {
                Some(verdict) => self.verdicts[id] = Some(verdict),
                None => self.waits.push((id, wait)),
            }
        }
        let id = self.verdicts.len();
        match Wait::open(ask, &self.phase) {
            Opened::Settled(verdict) => self.verdicts.push(Some(verdict)),
            Opened::Waiting(wait) => {
                self.verdicts.push(None);
                self.waits.push((id, wait));
            }
        }
        self.step(Event::Asked(ask));
        id
    }

    fn join(&mut self) -> usize {
        let id = self.verdicts.len();
        self.verdicts.push(None);
        self.waits.push((id, Wait::joining()));
        id
    }

    fn step(&mut self, event: Event) {
        let now = Tick::from_millis(self.now);
        let (phase, effects) = step(std::mem::take(&mut self.phase), &self.policy, now, event);
        self.phase = phase;
        for effect in effects {
            let Effect::Transition(change) = effect else {
                continue;
            };
            for (id, mut wait) in std::mem::take(&mut self.waits) {
                match wait.settle(&change) {
                    Some(verdict) => self.verdicts[id] = Some(verdict),
                    None => self.waits.push((id, wait)),
                }
            }
        }
    }

    fn spawned(&mut self) {
        let (attempt, at) = (self.phase.attempt(), Tick::from_millis(self.now));
        self.step(Event::Observed(Observation::Spawned {
            attempt,
            pid: 101,
            at,
        }));
    }

    fn refused(&mut self) {
        let (attempt, why) = (self.phase.attempt(), "can't find command 'x'".to_owned());
        self.step(Event::Observed(Observation::SpawnRefused { attempt, why }));
    }

    fn exited(&mut self) {
        let (attempt, at) = (self.phase.attempt(), Tick::from_millis(self.now));
        self.step(Event::Observed(Observation::Exited {
            attempt,
            exit: Exit::Code(1),
            at,
        }));
    }

    fn unsignallable(&mut self) {
        let (attempt, why) = (self.phase.attempt(), "EPERM".to_owned());
        self.step(Event::Observed(Observation::SignalFailed { attempt, why }));
    }

    /// Lets two seconds pass.
    fn pass(&mut self) {
        self.now += 2000;
        self.step(Event::Elapsed);
    }

    fn running() -> Self {
        let mut machine = Self::default();
        machine.ask(Ask::Start);
        machine.spawned();
        machine.pass();
        machine
    }

    #[track_caller]
    fn assert_pending(&self, id: usize) {
        assert_eq!(self.verdicts[id], None);
    }

    #[track_caller]
    fn assert_done(&self, id: usize, steps: &[Step]) {
        let verdict = Verdict {
            steps: steps.to_vec(),
            refusal: None,
        };
        assert_eq!(self.verdicts[id], Some(verdict));
    }

    #[track_caller]
    fn assert_refused(&self, id: usize, steps: &[Step], refusal: Refusal) {
        let verdict = Verdict {
            steps: steps.to_vec(),
            refusal: Some(refusal),
        };
        assert_eq!(self.verdicts[id], Some(verdict));
    }
}

fn spawn_error(why: &str) -> Refusal {
    Refusal::SpawnError {
        why: why.to_owned(),
    }
}

#[test]
fn a_start_is_done_when_the_process_is_running() {
    let mut machine = Machine::default();
    let start = machine.ask(Ask::Start);
    machine.spawned();
    machine.assert_pending(start);
    machine.pass();
    machine.assert_done(start, &[Step::Started]);
}

#[test]
fn a_start_that_fails_once_is_a_spawn_error_though_tries_are_left() {
    let mut machine = Machine::default();
    let start = machine.ask(Ask::Start);
    machine.refused();
    machine.assert_refused(start, &[], spawn_error("can't find command 'x'"));

    let mut machine = Machine::default();
    let start = machine.ask(Ask::Start);
    machine.spawned();
    machine.exited();
    let why = "Exited too quickly (process log may have details)";
    machine.assert_refused(start, &[], spawn_error(why));
}

#[test]
fn a_start_of_what_runs_or_tries_to_is_already_started() {
    let mut machine = Machine::running();
    let start = machine.ask(Ask::Start);
    machine.assert_refused(start, &[], Refusal::AlreadyStarted);

    let mut machine = Machine::default();
    machine.ask(Ask::Start);
    machine.refused();
    let start = machine.ask(Ask::Start);
    machine.assert_refused(start, &[], Refusal::AlreadyStarted);
}

#[test]
fn who_joins_a_start_that_is_under_way_is_answered_with_its_end() {
    let mut machine = Machine::default();
    let first = machine.ask(Ask::Start);
    let second = machine.join();
    machine.spawned();
    machine.assert_pending(second);
    machine.pass();
    machine.assert_done(first, &[Step::Started]);
    machine.assert_refused(second, &[], Refusal::AlreadyStarted);

    let mut machine = Machine::default();
    machine.ask(Ask::Start);
    let second = machine.join();
    machine.spawned();
    machine.exited();
    let why = "Exited too quickly (process log may have details)";
    machine.assert_refused(second, &[], spawn_error(why));

    let mut machine = Machine::default();
    machine.ask(Ask::Start);
    let second = machine.join();
    machine.spawned();
    machine.ask(Ask::Stop);
    machine.assert_refused(second, &[], Refusal::Superseded);
}

#[test]
fn a_stop_is_done_when_the_process_is_gone() {
    let mut machine = Machine::running();
    let stop = machine.ask(Ask::Stop);
    machine.assert_pending(stop);
    machine.exited();
    machine.assert_done(stop, &[Step::Stopped]);
}

#[test]
fn a_stop_during_backoff_is_done_at_once() {
    let mut machine = Machine::default();
    machine.ask(Ask::Start);
    machine.refused();
    let stop = machine.ask(Ask::Stop);
    machine.assert_done(stop, &[Step::Stopped]);
}

#[test]
fn a_stop_of_what_rests_is_not_running() {
    let mut machine = Machine::default();
    let stop = machine.ask(Ask::Stop);
    machine.assert_refused(stop, &[], Refusal::NotRunning);

    machine.policy.startretries = Retries::Limit(0);
    machine.ask(Ask::Start);
    machine.refused();
    let stop = machine.ask(Ask::Stop);
    machine.assert_refused(stop, &[], Refusal::NotRunning);
}

#[test]
fn a_second_stop_is_answered_when_the_process_is_gone_too() {
    let mut machine = Machine::running();
    let first = machine.ask(Ask::Stop);
    let second = machine.ask(Ask::Stop);
    machine.assert_pending(second);
    machine.exited();
    machine.assert_done(first, &[Step::Stopped]);
    machine.assert_refused(second, &[], Refusal::NotRunning);
}

#[test]
fn a_restart_tells_both_of_its_steps() {
    let mut machine = Machine::running();
    let restart = machine.ask(Ask::Restart);
    machine.exited();
    machine.assert_pending(restart);
    machine.spawned();
    machine.pass();
    machine.assert_done(restart, &[Step::Stopped, Step::Started]);
}

#[test]
fn a_restart_of_what_rests_is_a_start() {
    let mut machine = Machine::default();
    let restart = machine.ask(Ask::Restart);
    machine.spawned();
    machine.pass();
    machine.assert_done(restart, &[Step::Started]);
}

#[test]
fn a_restart_whose_start_fails_tells_that_it_stopped() {
    let mut machine = Machine::running();
    let restart = machine.ask(Ask::Restart);
    machine.exited();
    machine.refused();
    machine.assert_refused(
        restart,
        &[Step::Stopped],
        spawn_error("can't find command 'x'"),
    );
}

#[test]
fn a_start_is_superseded_by_a_later_stop() {
    let mut machine = Machine::default();
    let start = machine.ask(Ask::Start);
    let stop = machine.ask(Ask::Stop);
    machine.assert_refused(start, &[], Refusal::Superseded);
    machine.spawned();
    machine.assert_pending(stop);
    machine.exited();
    machine.assert_done(stop, &[Step::Stopped]);
}

#[test]
fn a_start_after_a_stop_leaves_both_their_due() {
    let mut machine = Machine::running();
    let stop = machine.ask(Ask::Stop);
    let start = machine.ask(Ask::Start);
    machine.exited();
    machine.assert_done(stop, &[Step::Stopped]);
    machine.assert_pending(start);
    machine.spawned();
    machine.pass();
    machine.assert_done(start, &[Step::Started]);
}

#[test]
fn a_start_outlives_a_later_restart() {
    let mut machine = Machine::default();
    let start = machine.ask(Ask::Start);
    machine.spawned();
    let restart = machine.ask(Ask::Restart);
    machine.exited();
    machine.spawned();
    machine.pass();
    machine.assert_done(start, &[Step::Started]);
    machine.assert_done(restart, &[Step::Stopped, Step::Started]);
}

#[test]
fn what_cannot_be_signalled_is_neither_stopped_nor_started() {
    let mut machine = Machine::running();
    let stop = machine.ask(Ask::Stop);
    machine.unsignallable();
    machine.assert_refused(stop, &[], Refusal::Unsignallable);
    let start = machine.ask(Ask::Start);
    machine.assert_refused(start, &[], Refusal::Unsignallable);
    let restart = machine.ask(Ask::Restart);
    machine.unsignallable();
    machine.assert_refused(restart, &[], Refusal::Unsignallable);
}

#[test]
fn a_start_that_was_running_before_it_ended_was_done() {
    let mut machine = Machine::default();
    let start = machine.ask(Ask::Start);
    machine.spawned();
    machine.now += 5000;
    machine.exited();
    machine.assert_done(start, &[Step::Started]);
    assert_eq!(machine.phase.attempt(), Attempt::new(2));
}
