//! Operations as far as the hub has to do with them: submissions become plans of exact targets, and what
//! waits for the store is written and then followed by its consequences.

use std::time::Duration;

use rsv_proto::{
    name::HostName,
    select::Settled,
    wire::{TargetResult, event::What},
};
use tokio::sync::oneshot;

use super::{
    Hub,
    handle::{Control, Controlled, Retry, Submission, Submitted},
    operations::{OperationError, Operations, SubmitError},
    pending::{After, Next},
    reply,
};
use crate::{
    host::Programs,
    moment::Moment,
    operands::{Kind, OperandError, concern, on_host, read, settle},
    operation::{Deed, Part, part},
    targets::select,
};

/// How long the hub leaves a store alone that could not write.
const RETRY_WRITE: Duration = Duration::from_secs(1);

impl Hub {
    /// Begins an action, or joins one; answered when it is written down.
    pub(super) fn submit(
        &mut self,
        now: Moment,
        submission: &Submission,
        answer: oneshot::Sender<Result<Submitted, SubmitError>>,
    ) {
        match self.begun(now, submission) {
            Ok(submitted) => self.answer_when_written(answer, submitted),
            Err(error) => reply(answer, Err(error)),
        }
    }

    /// Begins what an earlier operation did not achieve.
    pub(super) fn retry(
        &mut self,
        now: Moment,
        retry: Retry,
        answer: oneshot::Sender<Result<Submitted, SubmitError>>,
    ) {
        match self.begun_again(now, retry) {
            Ok(submitted) => self.answer_when_written(answer, submitted),
            Err(error) => reply(answer, Err(error)),
        }
    }

    /// Pauses, resumes or cancels an operation; answered when that is written down.
    pub(super) fn control(
        &mut self,
        now: Moment,
        operation: &str,
        control: Control,
        actor: &str,
        answer: oneshot::Sender<Controlled>,
    ) {
        let controlled = self
            .operations
            .control(now, &self.fleet, operation, control, actor);
        match controlled {
            Ok(id) => self.operations.pending.after(After::Controlled(answer, id)),
            Err(error) => reply(answer, Err(error)),
        }
    }

    /// How an operation is watched.
    pub(super) fn watch(
        &self,
        operation: &str,
        from_now: bool,
    ) -> Result<Submitted, OperationError> {
        let id = self.operations.named(operation)?;
        let followed = self.operations.follow(id, from_now);
        followed.ok_or_else(|| OperationError::Unknown(operation.to_owned()))
    }

    /// One operation as it is shown.
    pub(super) fn operation(&self, operation: &str) -> Controlled {
        let id = self.operations.named(operation)?;
        let unknown = || OperationError::Unknown(operation.to_owned());
        self.operations.info(id).ok_or_else(unknown)
    }

    /// Writes what waits, one batch at a time, and does what need not wait.
    pub(super) fn flush(&mut self, now: Moment) {
        for change in self.operations.take_happened() {
            self.happened(now, None, What::Operation(change));
        }
        while now.tick >= self.write_again {
            match self.operations.pending.next() {
                Next::Nothing => return,
                Next::Do(after) => self.do_after(now, after),
                Next::Write(steps) => {
                    if self.steps.try_send(steps).is_err() {
                        // Its task has ended: the controller stops.
                        self.written(now, false);
                    }
                    return;
                }
            }
        }
    }

    /// The steps that were being written are durable, or could not be written.
    pub(super) fn written(&mut self, now: Moment, is_durable: bool) {
        if is_durable {
            let after = self.operations.pending.written();
            return self.do_after(now, after);
        }
        self.write_again = now.tick + RETRY_WRITE;
        for id in self.operations.pending.failed() {
            self.operations.refuse(&id);
        }
    }

    fn do_after(&mut self, now: Moment, after: Vec<After>) {
        for after in after {
            match after {
                After::Command(host, command) => {
                    // Not connected: the operation hears of that from the fleet itself.
                    let told = self.fleet.command(&host, *command).ok();
                    self.carry(now, told.into_iter().collect());
                }
                After::Written(id, durable) => self.operations.written(&id, durable),
                After::Submitted(answer, submitted) => reply(answer, Ok(*submitted)),
                After::Controlled(answer, id) => reply(answer, self.operation(&id)),
            }
        }
    }

    fn answer_when_written(
        &mut self,
        answer: oneshot::Sender<Result<Submitted, SubmitError>>,
        submitted: Submitted,
    ) {
        let after = After::Submitted(answer, Box::new(submitted));
        self.operations.pending.after(after);
    }

    fn begun(&mut self, now: Moment, submission: &Submission) -> Result<Submitted, SubmitError> {
        if let Some(id) = self.operations.find(submission)? {
            return self.followed(&id);
        }
        let mut selected = select(&submission.selection, &self.inventory())?;
        let programs = self.settled(&selected.hosts, submission)?;
        selected.hosts.retain(|host| concern(&programs, host));
        let found = selected.hosts.len();
        if let Some(expected) = submission.expect_hosts.filter(|&n| n as usize != found) {
            return Err(SubmitError::Count { found, expected });
        }
        let parts = selected.hosts.into_iter();
        let parts = parts.map(|host| self.part(&host, submission.deed, &programs));
        let parts = parts.collect();
        let programs = programs.iter().map(ToString::to_string).collect();
        self.begin_on(now, submission, programs, parts, selected.missing)
    }

    /// The programs as they are meant on these hosts.
    fn settled(
        &self,
        hosts: &[HostName],
        submission: &Submission,
    ) -> Result<Vec<Settled>, OperandError> {
        let kind = match submission.deed.is_of_configuration() {
            true => Kind::Groups,
            false => Kind::Processes,
        };
        let known = hosts.iter().map(|host| (host, self.known(host)));
        settle(&submission.programs, kind, known)
    }

    fn begun_again(&mut self, now: Moment, retry: Retry) -> Result<Submitted, SubmitError> {
        let id = self.operations.named(&retry.operation)?.to_owned();
        let (record, targets) = self.operations.again(&id, retry.failed_only)?;
        let submission = Submission {
            id: retry.id,
            actor: retry.actor,
            selection: Default::default(),
            programs: record.programs.clone(),
            deed: record.plan.deed,
            signal: record.signal,
            rollout: record.plan.rollout,
            patience: record.plan.patience,
            expect_hosts: None,
            is_dry_run: false,
            key: retry.key,
            retry_of: id,
            trace: retry.trace,
        };
        if let Some(id) = self.operations.find(&submission)? {
            return self.followed(&id);
        }
        let settled = read(&submission.programs);
        let (mut parts, mut missing) = (Vec::new(), Vec::new());
        for (host, programs) in targets {
            if self.fleet.host(&host).is_none() {
                missing.push(host.to_string());
            } else if programs.is_empty() || submission.deed.is_of_configuration() {
                parts.push(self.part(&host, submission.deed, &settled));
            } else {
                parts.push(Part {
                    away: self.fleet.unreachable(&host),
                    programs: Some(programs),
                    unmatched: Vec::new(),
                    host,
                });
            }
        }
        let programs = submission.programs.clone();
        self.begin_on(now, &submission, programs, parts, missing)
    }

    fn begin_on(
        &mut self,
        now: Moment,
        submission: &Submission,
        programs: Vec<String>,
        parts: Vec<Part>,
        missing: Vec<String>,
    ) -> Result<Submitted, SubmitError> {
        let plan = Operations::plan(submission, parts, missing)?;
        if submission.is_dry_run {
            return Ok(Submitted::only_resolved(submission, programs, &plan));
        }
        self.operations
            .submit(now, &self.fleet, submission, programs, plan)?;
        self.followed(&submission.id)
    }

    fn followed(&self, id: &str) -> Result<Submitted, SubmitError> {
        let followed = self.operations.follow(id, false);
        followed.ok_or_else(|| OperationError::Unknown(id.to_owned()).into())
    }

    /// A host's part: its programs as they are known now.
    fn part(&self, host: &HostName, deed: Deed, programs: &[Settled]) -> Part {
        let away = self.fleet.unreachable(host);
        let own = on_host(programs, host);
        let known = self.known(host).filter(|_| !deed.is_of_configuration());
        part(host, &own, known, away)
    }

    /// The programs of a host; absent: they are not known.
    fn known(&self, host: &HostName) -> Option<&Programs> {
        let is_away = self.fleet.unreachable(host).is_some();
        // What a connected host had before its snapshot came is not what it has.
        let known = self.fleet.host(host);
        let known = known.filter(|host| is_away || host.is_live());
        known.and_then(|host| host.programs())
    }
}

/// A target without a fate.
pub(super) fn target(host: &HostName, program: String) -> TargetResult {
    TargetResult {
        host: host.to_string(),
        program,
        ..Default::default()
    }
}
