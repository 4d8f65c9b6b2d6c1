//! `fg`: a program in the foreground. What it writes is shown as it comes, what is typed goes to it line
//! by line, and an interrupt leaves it running.

mod typing;

use std::time::Duration;

use rsv_proto::{
    select::ProgramPattern,
    wire::{
        Channel, GetStatusRequest, ProcessState, ProcessStatus, Refusal, TailRequest, TailResponse,
        WriteStdinRequest, tail_response::Event,
    },
};
use tokio::time::{Instant, interval, sleep_until};

use super::{
    here,
    tail::{Display, Filter, How},
};
use crate::{
    carrier::Carrier,
    client::Events,
    error::{Exit, Failure},
    invocation::Invocation,
    ui::printable,
};

use typing::Typing;

/// The last bytes of each log that it begins with, as supervisorctl does.
const BYTES: u64 = 1024;

/// How often it is looked whether the program is still there: it may end without a word.
const LOOK: Duration = Duration::from_secs(1);

/// How long it is waited for what a program wrote last. An agent has read that before it says that the
/// program has ended; a Supervisor looks at its logs about once a second.
const LAST_WORDS: Duration = Duration::from_millis(200);
const LAST_WORDS_OF_A_SUPERVISOR: Duration = Duration::from_millis(1_500);

/// What is said at the end.
const LEFT: &str = "Exiting foreground";

/// What happens next.
enum Turn {
    Output(Result<Option<TailResponse>, Failure>),
    Errors(Result<Option<TailResponse>, Failure>),
    /// A line; none at the end of the input.
    Typed(Option<Vec<u8>>),
    Look,
}

/// Runs it.
pub(super) async fn run(
    invocation: &mut Invocation,
    programs: Vec<String>,
) -> Result<Exit, Failure> {
    let carrier = here::agent(invocation, "fg").await?;
    let program = match programs.as_slice() {
        [program] => program,
        [] => {
            let text = "ERROR: no process name supplied\n\
                        fg NAME\t\tCtrl-C leaves it, and it goes on";
            return invocation.ui.complaint(text, Exit::Failed);
        }
        _ => {
            let text = "ERROR: too many process names supplied";
            return invocation.ui.complaint(text, Exit::Failed);
        }
    };
    match state(&carrier, program).await? {
        None => {
            let text = "ERROR: bad process name supplied";
            return invocation.ui.complaint(text, Exit::Failed);
        }
        Some(ProcessState::Running) => {}
        Some(_) => {
            let text = "ERROR: process not running";
            return invocation.ui.complaint(text, Exit::Failed);
        }
    }
    invocation.ui.line("==> Press Ctrl-C to exit <==")?;
    invocation.ui.flush()?;
    invocation.left_by_interrupt = Some(LEFT);
    let ended = stay(invocation, &carrier, program).await;
    invocation.left_by_interrupt = None;
    if let Some(line) = ended? {
        invocation.ui.line(&line)?;
    }
    invocation.ui.line(LEFT)?;
    Ok(Exit::Done)
}

/// Passes on what comes and what is typed; gives what there is to say at the end.
async fn stay(
    invocation: &mut Invocation,
    carrier: &Carrier,
    program: &str,
) -> Result<Option<String>, Failure> {
    let mut output = Some(follow(carrier, program, Channel::Stdout).await?);
    let mut errors = Some(follow(carrier, program, Channel::Stderr).await?);
    // Set when the program has ended: what there is to say then, and when.
    let mut end: Option<(String, Instant)> = None;
    let mut typing = Typing::begin();
    let mut looks = interval(LOOK);
    let how = How {
        single: true,
        follow: true,
        ..How::default()
    };
    let mut display = Display::new(&invocation.ui, how, Filter::default());
    let last_words = match carrier {
        Carrier::Service(_) => LAST_WORDS,
        Carrier::XmlRpc(_) => LAST_WORDS_OF_A_SUPERVISOR,
    };
    let ending = |words| (words, Instant::now() + last_words);
    loop {
        let turn = tokio::select! {
            piece = next(&mut output) => Turn::Output(piece),
            piece = next(&mut errors) => Turn::Errors(piece),
            () = at(end.as_ref()) => return Ok(end.map(|(words, _)| words)),
            line = typing.line(), if end.is_none() => Turn::Typed(line),
            _ = looks.tick(), if end.is_none() => Turn::Look,
        };
        match turn {
            Turn::Output(piece) => show(invocation, &mut display, piece?, &mut output)?,
            Turn::Errors(piece) => show(invocation, &mut display, piece?, &mut errors)?,
            Turn::Typed(None) => return Ok(None),
            Turn::Typed(Some(line)) => {
                end = write(carrier, program, line).await?.map(&ending);
            }
            Turn::Look => {
                if state(carrier, program).await? != Some(ProcessState::Running) {
                    end = Some(ending(killed()));
                }
            }
        }
    }
}

/// The moment of the end, which never comes as long as there is none.
async fn at(end: Option<&(String, Instant)>) {
    match end {
        Some((_, moment)) => sleep_until(*moment).await,
        None => std::future::pending().await,
    }
}

/// A piece, or nothing for ever after the last one. Cancel-safe.
async fn next(events: &mut Option<Events<TailResponse>>) -> Result<Option<TailResponse>, Failure> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Shows a piece; a source that has ended, or that is not there, has nothing more to say.
fn show(
    invocation: &mut Invocation,
    display: &mut Display,
    piece: Option<TailResponse>,
    source: &mut Option<Events<TailResponse>>,
) -> Result<(), Failure> {
    match piece.and_then(|piece| piece.event) {
        Some(Event::Chunk(chunk)) => {
            display.chunk(&mut invocation.ui, "", "", &chunk)?;
            invocation.ui.flush()
        }
        Some(Event::Gap(gap)) => display.gap(&mut invocation.ui, "", "", &gap),
        // Of hosts of a fleet alone, and of who asks for a moment.
        Some(Event::Away(_) | Event::Back(_) | Event::Begin(_)) => Ok(()),
        Some(Event::End(_)) | None => {
            *source = None;
            Ok(())
        }
    }
}

async fn follow(
    carrier: &Carrier,
    program: &str,
    channel: Channel,
) -> Result<Events<TailResponse>, Failure> {
    let request = TailRequest {
        programs: vec![program.to_owned()],
        channel: channel.into(),
        follow: true,
        bytes: Some(BYTES),
        ..Default::default()
    };
    carrier.tail(request).await
}

/// Writes a line; gives what there is to say when that is the end.
async fn write(carrier: &Carrier, program: &str, data: Vec<u8>) -> Result<Option<String>, Failure> {
    let request = WriteStdinRequest {
        program: program.to_owned(),
        data,
    };
    let written = carrier.write_stdin(request).await?;
    Ok(match written.refusal() {
        Refusal::Unspecified => None,
        Refusal::NotRunning | Refusal::NoSuchProcess => Some(killed()),
        _ if written.detail.is_empty() => Some("ERROR: it cannot be written to".to_owned()),
        _ => Some(format!("ERROR: {}", printable(&written.detail))),
    })
}

/// The state of the one program of this name; absent: there is none.
async fn state(carrier: &Carrier, program: &str) -> Result<Option<ProcessState>, Failure> {
    let pattern = ProgramPattern::parse(program);
    if !matches!(pattern, ProgramPattern::Exact { .. }) {
        return Ok(None);
    }
    let request = GetStatusRequest {
        hosts: None,
        programs: vec![program.to_owned()],
    };
    let hosts = carrier.status(request).await?;
    let mut processes = hosts.iter().flat_map(|host| &host.programs);
    let process = processes.find(|process| pattern.matches(&process.group, &process.name));
    Ok(process.map(ProcessStatus::state))
}

fn killed() -> String {
    "Process got killed".to_owned()
}
