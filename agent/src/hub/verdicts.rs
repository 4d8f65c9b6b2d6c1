//! What came of an action, for whoever asked: who waits for which program, and what each is told.
//!
//! Pure but for `send`. Invariant: whoever asked is told exactly once for each program.

use rsv_proto::wire;
use rsv_supervise::{Ask, Effect, Opened, Phase, Refusal, Step, Verdict, Wait};
use tokio::sync::mpsc;

use super::handle::Key;

/// What a program is refused for once something else is done.
pub type Refused = (wire::Refusal, String);

/// Those who wait for a program; `A` is where their answers go.
#[derive(Debug)]
pub struct Waiters<A>(Vec<Waiter<A>>);

/// Answers, and where they go.
pub type Answers<A> = Vec<(A, wire::TargetResult)>;

/// Somebody who waits for the outcome of an action.
#[derive(Debug)]
struct Waiter<A> {
    wait: Wait,
    asker: A,
    /// What to refuse once the wait is done: the second half of a restart that cannot be.
    then_refuse: Option<Refused>,
}

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A> Waiters<A> {
    /// Takes in an ask of a machine that stands in this phase, before the ask's own step. Says whether
    /// that step is to be taken, and whom it overtakes; an ask with nothing to do is answered at once.
    pub fn ask(
        &mut self,
        key: &Key,
        ask: Ask,
        phase: &Phase,
        asker: A,
        then_refuse: Option<Refused>,
    ) -> (bool, Answers<A>) {
        match Wait::open(ask, phase) {
            Opened::Settled(verdict) => (false, vec![(asker, result(key, verdict))]),
            Opened::Waiting(wait) => {
                let overtaken = self.overtake(key, ask);
                self.0.push(Waiter {
                    wait,
                    asker,
                    then_refuse,
                });
                (true, overtaken)
            }
        }
    }

    /// Lets whoever asks for a start wait for the one that is under way.
    pub fn join(&mut self, asker: A) {
        self.0.push(Waiter {
            wait: Wait::joining(),
            asker,
            then_refuse: None,
        });
    }

    /// Answers whoever waits for what a step has brought about.
    pub fn settle(&mut self, key: &Key, effects: &[Effect]) -> Answers<A> {
        let mut answers = Vec::new();
        for effect in effects {
            if let Effect::Transition(change) = effect {
                answers.extend(self.answered(key, |wait| wait.settle(change)));
            }
        }
        answers
    }

    /// Answers whoever is overtaken by a later ask, before it takes its own step.
    pub fn overtake(&mut self, key: &Key, later: Ask) -> Answers<A> {
        self.answered(key, |wait| wait.overtaken(later))
    }

    /// Answers whoever still waits when the hub ends: the next agent goes on with what was asked, and
    /// nobody is here to see it done.
    pub fn give_up(&mut self, key: &Key) -> Answers<A> {
        let waiters = self.0.drain(..);
        let refused = || failed(key.to_string(), wire::Refusal::ShuttingDown, "");
        waiters.map(|waiter| (waiter.asker, refused())).collect()
    }

    fn answered(
        &mut self,
        key: &Key,
        mut verdict: impl FnMut(&mut Wait) -> Option<Verdict>,
    ) -> Answers<A> {
        let (mut kept, mut answers) = (Vec::with_capacity(self.0.len()), Vec::new());
        for mut waiter in std::mem::take(&mut self.0) {
            match verdict(&mut waiter.wait) {
                Some(verdict) => answers.push(answer(key, waiter, verdict)),
                None => kept.push(waiter),
            }
        }
        self.0 = kept;
        answers
    }
}

fn answer<A>(key: &Key, waiter: Waiter<A>, verdict: Verdict) -> (A, wire::TargetResult) {
    let mut result = result(key, verdict);
    if let Some((refusal, detail)) = waiter.then_refuse
        && result.outcome() == wire::Outcome::Done
    {
        result.set_outcome(wire::Outcome::Failed);
        result.set_refusal(refusal);
        result.detail = detail;
    }
    (waiter.asker, result)
}

/// Sends each answer where it goes.
pub(super) fn send_all(answers: Answers<mpsc::Sender<wire::TargetResult>>) {
    for (asker, result) in answers {
        send(&asker, result);
    }
}

/// A verdict in the words of the wire.
fn result(key: &Key, verdict: Verdict) -> wire::TargetResult {
    let steps = verdict
        .steps
        .into_iter()
        .map(wire_step)
        .map(i32::from)
        .collect();
    let Some(refusal) = verdict.refusal else {
        return wire::TargetResult { steps, ..done(key) };
    };
    let outcome = if refusal.is_benign() {
        wire::Outcome::Done
    } else {
        wire::Outcome::Failed
    };
    let (refusal, detail) = wire_refusal(key, refusal);
    let program = key.to_string();
    wire::TargetResult {
        host: String::new(),
        program,
        outcome: outcome.into(),
        refusal: refusal.into(),
        steps,
        detail,
    }
}

/// What was asked for is so.
pub fn done(key: &Key) -> wire::TargetResult {
    wire::TargetResult {
        program: key.to_string(),
        outcome: wire::Outcome::Done.into(),
        ..wire::TargetResult::default()
    }
}

/// What was asked for was not done.
pub fn failed(
    program: impl Into<String>,
    refusal: wire::Refusal,
    detail: impl Into<String>,
) -> wire::TargetResult {
    wire::TargetResult {
        program: program.into(),
        outcome: wire::Outcome::Failed.into(),
        refusal: refusal.into(),
        detail: detail.into(),
        ..wire::TargetResult::default()
    }
}

/// Gives a result to who asked. The channel has room for one from each target; nobody may be
/// there any more to read it, and then nobody misses it.
pub(super) fn send(results: &mpsc::Sender<wire::TargetResult>, result: wire::TargetResult) {
    if let Err(error) = results.try_send(result) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "nobody waits for a result"
        );
    }
}

fn wire_step(step: Step) -> wire::Step {
    match step {
        Step::Stopped => wire::Step::Stopped,
        Step::Started => wire::Step::Started,
    }
}

fn wire_refusal(key: &Key, refusal: Refusal) -> (wire::Refusal, String) {
    match refusal {
        Refusal::AlreadyStarted => (wire::Refusal::AlreadyStarted, String::new()),
        Refusal::NotRunning => (wire::Refusal::NotRunning, String::new()),
        Refusal::SpawnError { why } => (wire::Refusal::SpawnError, why),
        Refusal::AbnormalTermination => (wire::Refusal::AbnormalTermination, String::new()),
        Refusal::Superseded => (wire::Refusal::Superseded, String::new()),
        Refusal::Unsignallable => (
            wire::Refusal::Other,
            format!("{key} is in an unknown process state"),
        ),
    }
}
