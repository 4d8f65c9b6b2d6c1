//! `tail`: the end of output, and what comes after it.
//!
//! What is asked is read in `words`; `stream` drives what comes from `feed`, which goes on at its
//! `places`; `filter`, `order` and `display` decide what is shown and how.

mod away;
mod begins;
mod bookmark;
mod display;
mod feed;
mod files;
mod filter;
mod neutral;
mod order;
mod pieces;
mod places;
mod stream;
mod words;

pub(super) use {
    display::{Display, How},
    filter::Filter,
};

use jiff::Zoned;
use prost_types::Timestamp;
use rsv_proto::{
    time::{local_zone, to_wire},
    wire::{Channel, HostSelection, Refusal, TailMainLogRequest, TailRequest, tail_response::End},
};

use self::{
    bookmark::Bookmark,
    stream::{Asked, Via},
    words::{Complaint, Wanted},
};
use crate::{
    args::{Moment, Sources, Tail},
    carrier::Carrier,
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    ui::printable,
};

/// The last bytes that `tail -f` begins with on this machine, as supervisorctl does.
const FOLLOW_BYTES: u64 = 1024;

/// Shows output.
pub(super) async fn run(invocation: &mut Invocation, args: Tail) -> Result<Exit, Failure> {
    words::check(&args)?;
    let filter = Filter::new(&args.include, &args.without)?;
    let global = &invocation.global;
    // Without hosts `-x` is a word like any other, and a wrong one.
    if global.host.is_empty() && !global.all_hosts {
        return local(invocation, &args, filter).await;
    }
    match invocation.scope()? {
        Scope::Local => local(invocation, &args, filter).await,
        Scope::Fleet(_) if invocation.global.dry_run => Err(Failure::usage(
            "`tail` does nothing that could be left undone",
        )
        .hint("--lines N begins with the last N lines, -BYTES with the last bytes")),
        Scope::Fleet(hosts) => fleet(invocation, &args, filter, hosts).await,
    }
}

async fn local(invocation: &mut Invocation, args: &Tail, filter: Filter) -> Result<Exit, Failure> {
    let agent = match invocation.agent().await {
        Ok(agent) => agent,
        Err(unconnected) => return Err(unconnected.say(&mut invocation.ui)?),
    };
    let flag = match (&args.look.cursor, args.look.exit_on_stop) {
        (Some(_), _) => Some("--cursor"),
        (None, true) => Some("--exit-on-stop"),
        (None, false) => None,
    };
    if let (Some(flag), Carrier::XmlRpc(_)) = (flag, &agent.carrier) {
        let text = format!("`{flag}` needs an agent, and `{}` is none", agent.url);
        return Err(
            Failure::usage(text).hint("a Supervisor says neither places nor ends of output")
        );
    }
    let wanted = match words::for_one(args) {
        Ok(wanted) => wanted,
        Err(complaint) => return complain(invocation, &complaint),
    };
    let mut request = request(&wanted, args, None);
    if wanted.follow && request.lines.is_none() && request.since.is_none() {
        request.bytes = Some(FOLLOW_BYTES);
    }
    agent.carrier.check_tail(&request)?;
    let shows = args.look.sources.log_dir.is_none() && invocation.ui.output().is_text();
    if wanted.follow && shows {
        invocation.ui.line("==> Press Ctrl-C to exit <==")?;
        invocation.ui.flush()?;
        invocation.left_by_interrupt = Some("");
    }
    let single = wanted.names_one();
    let mut display = Display::new(&invocation.ui, how(&wanted, args, single), filter);
    let bookmark = bookmark(args, wanted.channel)?;
    let asked = Asked {
        via: Via::Agent,
        request,
        single,
    };
    let ends = stream::show(invocation, agent.carrier, &mut display, asked, bookmark).await?;
    if single && wanted.follow && ends.iter().any(|(_, end)| refusal_of(end).is_some()) {
        let (program, channel) = (wanted.programs.concat(), channel_name(wanted.channel));
        let url = agent.url;
        let said = format!("{url}/logtail/{program}/{channel} Cannot read, status code 404");
        invocation.ui.say(&said);
        return Ok(Exit::Done);
    }
    let mut exit = Exit::Done;
    for (program, end) in &ends {
        if let Some(refusal) = refusal_of(end) {
            let program = printable(program);
            let line = format!("{program}: ERROR ({})", refusal_words(refusal));
            exit = invocation.ui.complaint(&line, Exit::Failed)?;
        }
    }
    if single && !wanted.follow && shows && exit == Exit::Done {
        // supervisorctl ends what it shows with a newline of its own.
        invocation.ui.bytes(b"\n")?;
    }
    Ok(exit)
}

async fn fleet(
    invocation: &mut Invocation,
    args: &Tail,
    filter: Filter,
    hosts: HostSelection,
) -> Result<Exit, Failure> {
    let wanted = words::for_many(args)?;
    let single = wanted.names_one() && words::names_one_host(&hosts);
    let bookmark = bookmark(args, wanted.channel)?;
    let server = invocation.controller().await?;
    let asked = Asked {
        via: Via::Controller,
        request: TailRequest {
            max_streams: args.max_streams.unwrap_or_default(),
            ..request(&wanted, args, Some(hosts))
        },
        single,
    };
    let mut display = Display::new(&invocation.ui, how(&wanted, args, single), filter);
    let ends = stream::show(invocation, server.into(), &mut display, asked, bookmark).await?;
    let ends: Vec<End> = ends.into_iter().map(|(_, end)| end).collect();
    Ok(verdict(&ends))
}

/// Shows the agents' own logs of hosts.
pub(super) async fn main_logs(
    invocation: &mut Invocation,
    hosts: HostSelection,
    request: TailMainLogRequest,
    sources: Sources,
) -> Result<Exit, Failure> {
    let follow = request.follow;
    let single = words::names_one_host(&hosts);
    let server = invocation.controller().await?;
    let request = TailRequest {
        hosts: Some(hosts),
        channel: Channel::MainLog.into(),
        follow,
        bytes: request.bytes,
        lines: request.lines,
        since: request.since,
        ..TailRequest::default()
    };
    let asked = Asked {
        via: Via::Controller,
        request,
        single,
    };
    let how = How {
        single,
        follow,
        schema: "rsv/maintail/v1",
        prefix: sources.prefix,
        directory: sources.log_dir,
        ..How::default()
    };
    let mut display = Display::new(&invocation.ui, how, Filter::default());
    let ends = stream::show(invocation, server.into(), &mut display, asked, None).await?;
    let ends: Vec<End> = ends.into_iter().map(|(_, end)| end).collect();
    Ok(verdict(&ends))
}

fn how(wanted: &Wanted, args: &Tail, single: bool) -> How {
    How {
        single,
        raw: args.raw,
        follow: wanted.follow,
        schema: "rsv/tail/v1",
        prefix: args.look.sources.prefix,
        timestamps: args.look.timestamps,
        directory: args.look.sources.log_dir.clone(),
    }
}

fn bookmark(args: &Tail, channel: Channel) -> Result<Option<Bookmark>, Failure> {
    let path = args.look.cursor.as_ref();
    path.map(|path| Bookmark::open(path, channel_name(channel)))
        .transpose()
}

fn request(wanted: &Wanted, args: &Tail, hosts: Option<HostSelection>) -> TailRequest {
    TailRequest {
        hosts,
        programs: wanted.programs.clone(),
        channel: wanted.channel.into(),
        follow: wanted.follow,
        bytes: wanted.bytes,
        lines: wanted.lines,
        from: None,
        max_streams: 0,
        until_stopped: args.look.exit_on_stop,
        since: wanted.since.map(moment),
    }
}

/// A moment of the past, by the clock of now.
pub(super) fn moment(since: Moment) -> Timestamp {
    let now = Zoned::now().with_time_zone(local_zone());
    to_wire(since.before(&now))
}

fn source_name(host: &str, program: &str) -> String {
    let parts: Vec<&str> = [host, program]
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect();
    parts.join(" ")
}

fn refusal_of(end: &End) -> Option<Refusal> {
    Some(end.refusal()).filter(|refusal| *refusal != Refusal::Unspecified)
}

fn is_clean(end: &End) -> bool {
    refusal_of(end).is_none() && matches!(end.reason.as_str(), "" | "OK")
}

/// Why a source could not be read to its end.
fn why(end: &End) -> String {
    match (refusal_of(end), end.reason.as_str()) {
        (Some(refusal), "") => refusal_words(refusal).to_owned(),
        (_, reason) => reason.to_owned(),
    }
}

/// The exit code of a tail of several sources.
fn verdict(ends: &[End]) -> Exit {
    let names_nothing =
        |end: &End| matches!(end.refusal(), Refusal::NoSuchProcess | Refusal::NoSuchGroup);
    if ends.is_empty() || ends.iter().all(names_nothing) {
        Exit::NoTarget
    } else if ends.iter().any(|end| refusal_of(end).is_some()) {
        Exit::SomeFailed
    } else if ends.iter().all(is_clean) {
        Exit::Done
    } else {
        Exit::SomeUnreachable
    }
}

/// supervisorctl's words for output that cannot be read.
fn refusal_words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoFile => "no log file",
        Refusal::NoSuchProcess | Refusal::NoSuchGroup => "no such process name",
        _ => "unknown error reading log",
    }
}

fn channel_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Stderr => "stderr",
        Channel::Stdout | Channel::Unspecified | Channel::MainLog => "stdout",
    }
}

fn complain(invocation: &mut Invocation, complaint: &Complaint) -> Result<Exit, Failure> {
    let mut text = format!("Error: {}", printable(&complaint.text));
    if complaint.with_usage {
        text.push_str(
            "\ntail [-f|-BYTES] NAME [stdout|stderr]\t(default: stdout)\n\
             tail -f NAME\t\tgoes on as the program writes; Ctrl-C ends it\n\
             tail -100 NAME\t\tthe last 100 *bytes* of its standard output\n\
             tail NAME stderr\tthe last 1600 *bytes* of its standard error",
        );
    }
    let exit = invocation.ui.complaint(&text, Exit::Failed)?;
    invocation
        .ui
        .terminal_hint("options come before the name; --lines N begins with the last N lines");
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(reason: &str, refusal: Refusal) -> End {
        End {
            reason: reason.into(),
            refusal: refusal.into(),
        }
    }

    #[test]
    fn how_sources_end_decides_the_exit_code() {
        let fine = || end("OK", Refusal::Unspecified);
        let lost = || end("the host is unreachable", Refusal::Unspecified);
        let no_file = || end("", Refusal::NoFile);
        let unknown = || end("", Refusal::NoSuchProcess);
        for (ends, exit) in [
            (vec![fine(), fine()], 0),
            (vec![fine(), lost()], 11),
            (vec![fine(), no_file(), lost()], 10),
            (vec![fine(), unknown()], 10),
            (vec![unknown()], 15),
            (vec![], 15),
        ] {
            assert_eq!(verdict(&ends) as u8, exit, "{ends:?}");
        }
    }
}
