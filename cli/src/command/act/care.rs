//! Care with many hosts: when an action on the fleet has to be confirmed, and how.

use rsv_proto::select::{HostSelector, ProgramOperand};
use rsv_proto::wire::{HostSelection, host_limit::Size};

use super::Asked;
use crate::{
    context::Installed,
    error::{Exit, Failure},
    fold::folded,
    invocation::Invocation,
    ui::count,
};

/// The number of hosts above which every action has to be confirmed, unless configured otherwise.
const CONFIRM_ABOVE: usize = 20;

/// The number of hosts above which this user wants to confirm every action: `confirm_above` in
/// section `[rsv]` of the installed contexts.
pub(in crate::command) fn confirm_above(invocation: &mut Invocation) -> Result<usize, Failure> {
    // A file that cannot be read is no reason to be less careful, or to stop: the context in use may
    // come from elsewhere. One that says what nobody understands may have meant another number.
    let installed = Installed::for_settings(&mut invocation.ui)?;
    let number = installed.and_then(|installed| installed.confirm_above());
    Ok(number.unwrap_or(CONFIRM_ABOVE))
}

/// Whether the action has to be confirmed, given how many hosts it reaches.
pub(super) fn is_grave(asked: Asked, programs: &[String], hosts: usize, above: usize) -> bool {
    is_sweeping(asked, programs) || hosts > above
}

/// Whether the action has to be confirmed however few hosts it reaches.
fn is_sweeping(asked: Asked, programs: &[String]) -> bool {
    match asked {
        Asked::Reload | Asked::Shutdown => true,
        Asked::Stop => name_all(programs),
        _ => false,
    }
}

/// Whether everything is meant, be it of some hosts.
pub(in crate::command) fn name_all(programs: &[String]) -> bool {
    let is_all = |operand: ProgramOperand| matches!(operand.program(), "all" | "*" | "*:*");
    programs.iter().any(|text| text.parse().is_ok_and(is_all))
}

/// Whether the number of hosts must be known before anything is done. Plain names of few hosts
/// need no question to the controller.
pub(super) fn must_count(
    asked: Asked,
    programs: &[String],
    hosts: &HostSelection,
    above: usize,
) -> bool {
    is_sweeping(asked, programs) || most_hosts(hosts).is_none_or(|most| most > above)
}

/// The most hosts that the selection can name; none when only the controller knows.
fn most_hosts(hosts: &HostSelection) -> Option<usize> {
    let limit = hosts.limit.as_ref().and_then(|limit| match limit.size {
        Some(Size::Count(count)) => Some(count as usize),
        Some(Size::Percent(_)) | None => None,
    });
    let named = || -> Option<usize> {
        if hosts.all || hosts.include.is_empty() {
            return None;
        }
        hosts.include.iter().try_fold(0, |sum, selector| {
            let selector: HostSelector = selector.parse().ok()?;
            Some(sum + selector.most_hosts()?)
        })
    };
    match (limit, named()) {
        (Some(limit), Some(named)) => Some(limit.min(named)),
        (limit, named) => limit.or(named),
    }
}

/// Asks for the number of hosts, and says which they are. Without anybody to ask, nothing is done.
pub(in crate::command) async fn confirm(
    invocation: &mut Invocation,
    word: &str,
    programs: &[String],
    hosts: &[String],
) -> Result<(), Failure> {
    let words = [&[word.to_owned()][..], programs].concat().join(" ");
    let named = named(hosts);
    let hosts = hosts.len();
    let what = format!("{words} on {} ({named})", count(hosts, "host"));
    if !invocation.ui.can_ask() {
        return Err(
            Failure::new(Exit::Declined, format!("{what} has to be confirmed"))
                .hint(format!("add --yes, or --expect {hosts}")),
        );
    }
    let question = format!("{what}: type the number of hosts to go on:");
    let answer = invocation.ui.ask(&question).await?;
    match answer.parse::<usize>() {
        Ok(number) if number == hosts => Ok(()),
        _ => Err(Failure::new(
            Exit::Declined,
            "not confirmed: nothing was done",
        )),
    }
}

/// Hosts as one text, which does not push the question out of sight.
fn named(hosts: &[String]) -> String {
    const MOST: usize = 200;
    let mut text = folded(hosts);
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hosts_and_sweeping_actions_are_grave() {
        let all = ["all".to_owned()];
        let app = ["app".to_owned()];
        assert!(is_grave(Asked::Stop, &all, 1, 20));
        assert!(!is_grave(Asked::Restart, &all, 20, 20));
        assert!(is_grave(Asked::Restart, &app, 21, 20));
        for everything in ["web1:all", "*", "*:*"] {
            let programs = [everything.to_owned()];
            assert!(is_grave(Asked::Stop, &programs, 1, 20), "{everything}");
        }
        assert!(!is_grave(Asked::Stop, &["web*".to_owned()], 1, 20));
    }

    #[test]
    fn the_hosts_of_a_question_are_named_as_far_as_there_is_room() {
        let hosts = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(named(&hosts(&["web01", "web02", "db1"])), "db1,web[01-02]");
        let letters = || 'a'..='z';
        let pairs = letters().flat_map(|a| letters().map(move |b| format!("{a}{b}")));
        let many: Vec<String> = pairs.collect();
        let text = named(&many);
        assert!(text.ends_with('…') && text.chars().count() == 201, "{text}");
    }

    #[test]
    fn a_few_plain_names_need_not_be_counted() {
        let selection = |include: &[&str]| HostSelection {
            include: include.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let app = ["app".to_owned()];
        let must = |hosts: &HostSelection| must_count(Asked::Restart, &app, hosts, 20);
        assert!(!must(&selection(&["web01", "db[1-3]"])));
        assert!(must(&selection(&["web*"])));
        assert!(must(&selection(&["web[01-30]"])));
        assert!(must(&HostSelection {
            all: true,
            ..Default::default()
        }));
        assert!(must_count(
            Asked::Stop,
            &["all".to_owned()],
            &selection(&["web01"]),
            20
        ));
    }
}
