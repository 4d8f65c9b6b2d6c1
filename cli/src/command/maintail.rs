//! `maintail`: the end of the agent's own log, and what comes after it.

use rsv_proto::wire::{
    TailMainLogRequest, TailMainLogResponse,
    tail_response::{Chunk, Gap},
};

use super::tail::{self, Display, Filter, How};
use crate::{
    args::{MainTail, Output, Sources},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
};

/// The last bytes that are shown, and those that following begins with, as with supervisorctl.
const BYTES: u64 = 1600;
const FOLLOW_BYTES: u64 = 1024;

/// Shows it.
pub(super) async fn run(invocation: &mut Invocation, args: MainTail) -> Result<Exit, Failure> {
    // Without hosts `-x` is a word like any other, and a wrong one.
    let global = &invocation.global;
    if (!global.host.is_empty() || global.all_hosts || !global.label.is_empty())
        && let Scope::Fleet(hosts) = invocation.scope()?
    {
        let bytes = wanted(&args).map_err(Failure::usage)?;
        let bytes = if args.words.is_empty() { BYTES } else { bytes };
        let request = request(&args, bytes);
        return tail::main_logs(invocation, hosts, request, args.sources).await;
    }
    if args.sources != Sources::default() {
        let text = "`--prefix` and `--log-dir` are for the logs of many agents";
        return Err(Failure::usage(text).hint("add --host, --label or --all-hosts"));
    }
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say(&mut invocation.ui)?),
    };
    let bytes = match wanted(&args) {
        Ok(bytes) => bytes,
        Err(complaint) => {
            let text = format!("Error: {complaint}");
            return invocation.ui.complaint(&text, Exit::Failed);
        }
    };
    let request = request(&args, bytes);
    agent.carrier.check_main_log(&request)?;
    let is_text = invocation.ui.output() == Output::Table;
    if args.follow && is_text {
        invocation.ui.line("==> Press Ctrl-C to exit <==")?;
        invocation.ui.flush()?;
        invocation.left_by_interrupt = Some("");
    }
    let Some(mut pieces) = agent.carrier.main_log(request).await? else {
        if args.follow {
            let said = format!("{}/mainlogtail Cannot read, status code 404", agent.url);
            invocation.ui.say(&said);
            return Ok(Exit::Done);
        }
        let text = "supervisord: ERROR (no log file)";
        return invocation.ui.complaint(text, Exit::Failed);
    };
    let how = How {
        single: true,
        follow: args.follow,
        schema: "rsv/maintail/v1",
        ..How::default()
    };
    let mut display = Display::new(&invocation.ui, how, Filter::default());
    while let Some(piece) = pieces.next().await? {
        match is_text {
            true => show(invocation, &piece)?,
            false => tell(invocation, &mut display, piece)?,
        }
        invocation.ui.flush()?;
    }
    if !is_text {
        display.read_all(&mut invocation.ui, "", "")?;
    } else if !args.follow {
        // supervisorctl ends what it shows with a newline of its own.
        invocation.ui.bytes(b"\n")?;
    }
    Ok(Exit::Done)
}

/// What is asked for; of the words only the number of bytes.
fn request(args: &MainTail, bytes: u64) -> TailMainLogRequest {
    TailMainLogRequest {
        follow: args.follow,
        bytes: Some(bytes),
        lines: args.lines,
        since: args.since.map(tail::moment),
    }
}

fn show(invocation: &mut Invocation, piece: &TailMainLogResponse) -> Result<(), Failure> {
    if piece.truncated {
        invocation.ui.line("==> File truncated <==")?;
    }
    invocation.ui.bytes(&piece.data)
}

/// For scripts, in the form that output of programs has.
fn tell(
    invocation: &mut Invocation,
    display: &mut Display,
    piece: TailMainLogResponse,
) -> Result<(), Failure> {
    let ui = &mut invocation.ui;
    if piece.truncated {
        let gap = Gap {
            reason: "truncated".to_owned(),
            ..Default::default()
        };
        display.gap(ui, "", "", &gap)?;
    }
    let chunk = Chunk {
        at: None,
        data: piece.data,
        ..Chunk::default()
    };
    display.chunk(ui, "", "", &chunk)
}

/// How many bytes are asked for: `-BYTES`, of which `-0` is all there is.
fn wanted(args: &MainTail) -> Result<u64, String> {
    if let (Some(word), true) = (
        args.words.first(),
        args.lines.is_some() || args.since.is_some(),
    ) {
        return Err(format!("{word} beside --lines or --since"));
    }
    match args.words.as_slice() {
        [] if args.follow => Ok(FOLLOW_BYTES),
        [] => Ok(BYTES),
        [_] if args.follow => Err("too many arguments".to_owned()),
        [word] => {
            let bytes = word.strip_prefix('-').and_then(|word| word.parse().ok());
            match bytes {
                Some(0) => Ok(u64::MAX),
                Some(bytes) => Ok(bytes),
                None => Err(format!("bad argument {word}")),
            }
        }
        _ => Err("too many arguments".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_supervisorctls() {
        let of = |follow, words: &[&str]| {
            let words = words.iter().map(ToString::to_string).collect();
            wanted(&MainTail {
                follow,
                lines: None,
                since: None,
                sources: Sources::default(),
                words,
            })
        };
        assert_eq!(of(false, &[]), Ok(1600));
        assert_eq!(of(true, &[]), Ok(1024));
        assert_eq!(of(false, &["-100"]), Ok(100));
        assert_eq!(of(false, &["-0"]), Ok(u64::MAX));
        assert_eq!(of(false, &["-x"]), Err("bad argument -x".to_owned()));
        assert_eq!(of(false, &["x"]), Err("bad argument x".to_owned()));
        assert_eq!(
            of(false, &["-1", "-2"]),
            Err("too many arguments".to_owned())
        );
    }
}
