use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fold::fold;

/// Ten hosts: those with an even number are unreachable and in group `even`; operation `o1` failed on
/// `web1` and was done on `web2`.
struct World;

const HOSTS: [&str; 10] = [
    "web1", "web2", "web3", "web4", "web5", "db1", "db2", "db3", "cache-01", "cache-02",
];

impl Lookup for World {
    fn state(&self, host: &str) -> Option<HostState> {
        HOSTS.contains(&host).then(|| match is_even(host) {
            true => HostState::Unreachable,
            false => HostState::Connected,
        })
    }

    fn is_in_group(&self, host: &str, group: &str) -> bool {
        group == "even" && is_even(host)
    }

    fn has_fate(&self, host: &str, operation: &str, fate: Fate) -> bool {
        let fated = match fate {
            Fate::Any => host == "web1" || host == "web2",
            Fate::Ended(Outcome::Failed) => host == "web1",
            Fate::Ended(Outcome::Done) => host == "web2",
            Fate::Ended(_) => false,
        };
        operation == "o1" && fated
    }
}

fn is_even(host: &str) -> bool {
    host.ends_with(['2', '4'])
}

fn selected(selector: &str) -> BTreeSet<&'static str> {
    let parsed: HostSelector = selector.parse().unwrap();
    let hosts = HOSTS.into_iter();
    hosts.filter(|host| parsed.matches(host, &World)).collect()
}

#[test]
fn terms_are_joined_from_left_to_right() {
    for (selector, folded) in [
        ("web[1-3]", "web[1-3]"),
        ("web*!web[2-3]", "web1,web[4-5]"),
        ("web*!web[2-3],web3", "web1,web[3-5]"),
        ("web*,db*&@even", "db2,web2,web4"),
        ("db* & @state:connected", "db1,db3"),
        ("@even!@state:unreachable", ""),
        ("@op:o1", "web[1-2]"),
        ("@op:o1:failed", "web1"),
        ("@op:o1:not_attempted", ""),
        ("*!@op:o1:done&web*", "web1,web[3-5]"),
        ("@nothing", ""),
    ] {
        let found = fold(selected(selector));
        let wanted = fold(selected_by_name(folded));
        assert_eq!(found, wanted, "{selector}");
    }
}

/// The hosts of a plain list, which may be empty.
fn selected_by_name(list: &str) -> BTreeSet<&'static str> {
    match list {
        "" => BTreeSet::new(),
        list => selected(list),
    }
}

#[test]
fn what_means_nothing_is_refused_with_what_is_accepted() {
    for (selector, error) in [
        ("", "empty host pattern in ``"),
        ("!web1", "host selector `!web1` has nothing before `!`"),
        ("web*!", "host selector `web*!` has nothing after `!`"),
        ("a,,b", "host selector `a,,b` has nothing after `,`"),
        ("web[1", "unbalanced `[` in host pattern `web[1`"),
        (
            "@state:up",
            "`@state:up` names no state; accepted: connected, unreachable, draining, never, revoked",
        ),
        (
            "@op:x:bad",
            "`bad` names no outcome; accepted: done, failed, unreachable, expired, denied, not-attempted",
        ),
        (
            "@",
            "`@` is none of @GROUP, @state:STATE, @op:ID and @op:ID:OUTCOME",
        ),
        (
            "@a:b",
            "`@a:b` is none of @GROUP, @state:STATE, @op:ID and @op:ID:OUTCOME",
        ),
    ] {
        let found = selector.parse::<HostSelector>().unwrap_err();
        assert_eq!(found.to_string(), error);
    }
}

#[test]
fn a_selector_knows_how_many_hosts_it_can_mean_at_most() {
    for (selector, most) in [
        ("web1", Some(1)),
        ("web[1-30],db1", Some(31)),
        ("web[1-30]&db1", Some(1)),
        ("web[1-3]!web*", Some(3)),
        ("web[1-3]&@even", Some(3)),
        ("web*", None),
        ("web1,@even", None),
    ] {
        let parsed: HostSelector = selector.parse().unwrap();
        assert_eq!(parsed.most_hosts(), most, "{selector}");
    }
}

/// A selector that is one term, written.
fn term() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("web*".to_owned()),
        Just("@even".to_owned()),
        Just("@state:connected".to_owned()),
        Just("@op:o1:failed".to_owned()),
        (1..5u32, 0..3u32).prop_map(|(a, b)| format!("web[{a}-{}]", a + b)),
        (0..10usize).prop_map(|i| HOSTS[i].to_owned()),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        first in term(),
        rest in proptest::collection::vec(("[,!&]", term()), 0..6),
    ) {
        let text = rest.iter().fold(first, |text, (operator, term)| text + operator + term);
        let parsed: HostSelector = text.parse().unwrap();
        let again: HostSelector = parsed.to_string().parse().unwrap();
        prop_assert_eq!(again, parsed);
    }

    #[test]
    fn the_laws_of_sets_hold(a in term(), b in term(), c in term()) {
        let of = |text: String| selected(&text);
        // Union: commutative, associative, idempotent.
        prop_assert_eq!(of(format!("{a},{b}")), of(format!("{b},{a}")));
        prop_assert_eq!(of(format!("{a},{a}")), of(a.clone()));
        // And: commutative, idempotent, contained in both.
        prop_assert_eq!(of(format!("{a}&{b}")), of(format!("{b}&{a}")));
        prop_assert_eq!(of(format!("{a}&{a}")), of(a.clone()));
        let both = of(format!("{a}&{b}"));
        prop_assert!(both.is_subset(&of(a.clone())));
        // Minus: what is taken away is not there; minus and and part a set in two.
        let none = of(format!("{a}!{b}&{b}"));
        prop_assert!(none.is_empty());
        let parted: BTreeSet<_> =
            of(format!("{a}!{b}")).union(&of(format!("{a}&{b}"))).copied().collect();
        prop_assert_eq!(parted, of(a.clone()));
        // Minus twice is minus the union.
        let both: BTreeSet<_> = of(format!("{b},{c}"));
        let left: BTreeSet<_> = of(a.clone()).difference(&both).copied().collect();
        prop_assert_eq!(of(format!("{a}!{b}!{c}")), left);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        if let Ok(selector) = text.parse::<HostSelector>() {
            let again: HostSelector = selector.to_string().parse().unwrap();
            prop_assert_eq!(again, selector);
        }
    }

    #[test]
    fn a_folded_list_means_exactly_its_hosts(picked in proptest::sample::subsequence(&HOSTS[..], 1..10)) {
        let found = selected(&fold(picked.iter().copied()));
        prop_assert_eq!(found, picked.into_iter().collect::<BTreeSet<_>>());
    }
}
