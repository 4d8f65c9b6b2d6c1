//! The verbs, one file each. What they share is which of them runs.

mod act;
mod avail;
mod clear;
mod completion;
mod ctx;
mod desire;
mod enrolled;
mod events;
mod fg;
mod group;
mod help;
mod here;
mod host;
mod import;
mod look;
mod maintail;
mod man;
mod op;
mod open;
mod pid;
mod reload;
mod reread;
mod shutdown;
mod status;
mod tail;
mod token;
mod top;
mod update;
mod version;
mod wait;

use rsv_proto::wire::Wish;

use crate::{
    args::{ContextVerb, ForScripts, HostVerb, TokenVerb, Verb},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    shell,
    ui::count,
};

pub(crate) use {op::control, open::is_server};

/// Runs a verb.
pub(crate) async fn run(invocation: &mut Invocation, verb: Verb) -> Result<Exit, Failure> {
    if let ForScripts::Refused { instead } = ForScripts::of(verb.name())
        && !invocation.ui.output().is_text()
    {
        return Err(for_people(&format!("`{}`", verb.name()), instead));
    }
    if is_read(&verb, invocation.global.dry_run) {
        hold_to_expected(invocation).await?;
    }
    match verb {
        Verb::Status(args) => status::run(invocation, args).await,
        Verb::Start(args) => act::run(invocation, act::Asked::Start, args).await,
        Verb::Stop(args) => act::run(invocation, act::Asked::Stop, args).await,
        Verb::Restart(args) => act::run(invocation, act::Asked::Restart, args).await,
        Verb::Enable(args) => desire::programs(invocation, Wish::Enable, args).await,
        Verb::Disable(args) => desire::programs(invocation, Wish::Disable, args).await,
        Verb::Signal(args) => act::run_signal(invocation, args.words).await,
        Verb::Pid(args) => pid::run(invocation, args.programs).await,
        Verb::Tail(args) => tail::run(invocation, args).await,
        Verb::Clear(args) => clear::run(invocation, args.programs).await,
        Verb::Maintail(args) => maintail::run(invocation, args).await,
        Verb::Reread(args) => reread::run(invocation, args).await,
        Verb::Update(args) => update::run(invocation, args).await,
        Verb::Add(args) => group::run(invocation, group::Asked::Add, args.groups).await,
        Verb::Remove(args) => group::run(invocation, group::Asked::Remove, args.groups).await,
        Verb::Avail(args) => avail::run(invocation, &args.words).await,
        Verb::Reload(args) => reload::run(invocation, args).await,
        Verb::Version(args) => version::run(invocation, &args.words).await,
        Verb::Fg(args) => fg::run(invocation, args.programs).await,
        Verb::Open(args) => open::run(invocation, &args.words).await,
        Verb::Shutdown(args) => shutdown::run(invocation, args).await,
        Verb::Events(args) => events::run(invocation, args).await,
        Verb::Wait(args) => wait::run(invocation, args).await,
        Verb::Top(args) => top::run(invocation, args).await,
        Verb::Host { verb } => match verb {
            HostVerb::Ls(args) => host::list(invocation, args).await,
            HostVerb::Show(args) => host::show(invocation, args).await,
            HostVerb::Label(args) => enrolled::label(invocation, args).await,
            HostVerb::Revoke(args) => enrolled::revoke(invocation, args).await,
            HostVerb::Rm(args) => enrolled::remove(invocation, args).await,
            HostVerb::Drain(args) => desire::hosts(invocation, Wish::Drain, args).await,
            HostVerb::Resume(args) => desire::hosts(invocation, Wish::Resume, args).await,
        },
        Verb::Op { verb } => op::run(invocation, verb).await,
        Verb::Token { verb } => match verb {
            TokenVerb::Create(args) => token::create(invocation, args).await,
        },
        Verb::Ctx { verb } => match verb {
            ContextVerb::Import { file, name } => ctx::import(invocation, &file, name),
            ContextVerb::Ls => ctx::list(invocation),
            ContextVerb::Use { name } => ctx::choose(invocation, &name),
        },
        Verb::Completion { shell } => completion::run(invocation, shell),
        Verb::Import { file } => import::run(invocation, file),
        Verb::Man { directory } => man::run(invocation, &directory),
        Verb::Help { verb } => help::run(invocation, &verb),
        Verb::Unknown(words) => unknown(invocation, &words),
    }
}

/// Whether a verb reads from hosts. What acts on them tells the controller how many are expected, which
/// then does nothing to others.
fn is_read(verb: &Verb, is_dry: bool) -> bool {
    match verb {
        Verb::Status(_) | Verb::Pid(_) | Verb::Version(_) | Verb::Avail(_) => true,
        Verb::Tail(_) | Verb::Maintail(_) | Verb::Events(_) => true,
        Verb::Wait(_) | Verb::Top(_) => true,
        // Its plan.
        Verb::Update(_) => is_dry,
        _ => false,
    }
}

/// Holds what only reads to the number of hosts that is expected.
async fn hold_to_expected(invocation: &mut Invocation) -> Result<(), Failure> {
    let Some(expected) = invocation.global.expect else {
        return Ok(());
    };
    if let Scope::Fleet(hosts) = invocation.scope()? {
        let found = invocation.controller().await?.hosts(hosts).await?.hosts;
        as_expected(Some(expected), found.len())?;
    }
    Ok(())
}

/// Refuses another number of hosts than is expected.
fn as_expected(expected: Option<u32>, found: usize) -> Result<(), Failure> {
    match expected {
        Some(expected) if u32::try_from(found) != Ok(expected) => {
            let are = if found == 1 { "is" } else { "are" };
            let selected = format!("{} {are} selected", count(found, "host"));
            let text = format!("{selected}, {expected} were expected; nothing was done");
            Err(Failure::new(Exit::Precondition, text))
        }
        _ => Ok(()),
    }
}

/// The refusal of what has no form for scripts.
pub(crate) fn for_people(what: &str, instead: &str) -> Failure {
    Failure::usage(format!("{what} has no form for scripts")).hint(instead)
}

/// A word that is no verb: in supervisorctl's manner on this machine, where scripts may try it.
fn unknown(invocation: &mut Invocation, words: &[String]) -> Result<Exit, Failure> {
    let line = words.join(" ");
    match invocation.scope()? {
        // A script's variable that is empty: supervisorctl does nothing then.
        Scope::Local if line.trim().is_empty() && invocation.ui.output().is_text() => {
            Ok(Exit::Done)
        }
        // Another way to say `help`.
        Scope::Local if line.starts_with('?') => {
            let verb: Vec<String> = line[1..].split_whitespace().map(str::to_owned).collect();
            help::run(invocation, &verb)
        }
        // What ends supervisorctl's prompt, typed where there is none.
        Scope::Local if shell::is_end(&line) => {
            if !invocation.ui.output().is_text() {
                let what = format!("`{line}` ends a prompt, which");
                return Err(for_people(&what, "`rsv help` lists what there is"));
            }
            invocation.ui.line("")?;
            Ok(Exit::Done)
        }
        Scope::Local => {
            let text = format!("*** Unknown syntax: {line}");
            let exit = invocation.ui.complaint(&text, Exit::Failed)?;
            invocation
                .ui
                .terminal_hint("`rsv help` lists what there is");
            Ok(exit)
        }
        Scope::Fleet(_) => {
            Err(Failure::usage(format!("no verb `{line}`")).hint("`rsv help` lists what there is"))
        }
    }
}
