//! What the words of `tail` ask for: in supervisorctl's grammar for this machine, and in a wider
//! one for the fleet. Pure.

use rsv_proto::{
    select::{HostSelector, ProgramPattern},
    wire::{Channel, HostSelection},
};

use crate::{
    args::{Moment, Tail},
    error::Failure,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) programs: Vec<String>,
    pub(super) channel: Channel,
    pub(super) follow: bool,
    /// None: the server's choice.
    pub(super) bytes: Option<u64>,
    pub(super) lines: Option<u64>,
    pub(super) since: Option<Moment>,
}

/// What is wrong with the words, as supervisorctl puts it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) text: String,
    pub(super) with_usage: bool,
}

impl Wanted {
    /// Whether one program is named, and no group and no glob.
    pub(super) fn names_one(&self) -> bool {
        match self.programs.as_slice() {
            [one] => matches!(ProgramPattern::parse(one), ProgramPattern::Exact { .. }),
            _ => false,
        }
    }
}

/// Whether the selection can only be one host.
pub(super) fn names_one_host(hosts: &HostSelection) -> bool {
    let [one] = hosts.include.as_slice() else {
        return false;
    };
    let selector: Option<HostSelector> = one.parse().ok();
    let most = selector.and_then(|selector| selector.most_hosts());
    !hosts.all && most == Some(1)
}

/// `[-f|-BYTES] NAME [stdout|stderr]`.
pub(super) fn for_one(args: &Tail) -> Result<Wanted, Complaint> {
    let complaint = |text: &str, with_usage| Complaint {
        text: text.to_owned(),
        with_usage,
    };
    let (modifier, words) = split_modifier(&args.typed);
    let given = args.typed.len();
    if given == 0 {
        return Err(complaint("too few arguments", true));
    }
    if given > 3 {
        return Err(complaint("too many arguments", true));
    }
    let (name, channel) = match words {
        [] => return Err(complaint("tail requires process name", false)),
        [name] => (name, Channel::Stdout),
        [name, .., channel] => match channel_of(&channel.to_lowercase()) {
            Some(known) => (name, known),
            None => {
                let text = format!("bad channel '{}'", channel.to_lowercase());
                return Err(complaint(&text, false));
            }
        },
    };
    let (follow, bytes) = match modifier.map(|modifier| (modifier, bytes_of(modifier))) {
        None => (false, None),
        Some(("-f", _)) => (true, None),
        Some((_, Some(bytes))) => (false, Some(bytes)),
        Some((modifier, None)) => {
            return Err(complaint(&format!("bad argument {modifier}"), false));
        }
    };
    Ok(Wanted {
        programs: vec![name.clone()],
        channel,
        follow,
        bytes,
        lines: args.lines,
        since: args.since,
    })
}

/// `[-f] [-BYTES] PROGRAM... [stdout|stderr]`.
pub(super) fn for_many(args: &Tail) -> Result<Wanted, Failure> {
    let (modifier, words) = split_modifier(&args.words);
    let bytes = match modifier.map(|modifier| (modifier, bytes_of(modifier))) {
        Some((modifier, None)) => {
            return Err(
                Failure::usage(format!("`{modifier}` is no number of bytes"))
                    .hint("-5000 is the last 5000 bytes, -0 is everything"),
            );
        }
        Some((_, bytes)) => bytes,
        None => None,
    };
    let (channel, programs) = match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => match channel_of(last) {
            Some(channel) => (channel, rest),
            None => (Channel::Stdout, words),
        },
        _ => (Channel::Stdout, words),
    };
    if let Some(option) = words.iter().find(|word| word.starts_with('-')) {
        return Err(Failure::usage(format!("`tail` knows no option `{option}`"))
            .hint("`rsv help tail` lists what there is"));
    }
    if programs.is_empty() {
        return Err(Failure::usage("`tail` needs a program").hint("rsv -H 'web*' tail -f app"));
    }
    Ok(Wanted {
        programs: programs.to_vec(),
        channel,
        follow: args.follow,
        bytes,
        lines: args.lines,
        since: args.since,
    })
}

/// Whether the flags can be meant together.
pub(super) fn check(args: &Tail) -> Result<(), Failure> {
    let look = &args.look;
    let of_following = [
        (
            look.timestamps,
            "--timestamps",
            "nobody knows when what is there was written",
        ),
        (
            look.exit_on_stop,
            "--exit-on-stop",
            "without it the end is that of what there is",
        ),
    ];
    if args.since.is_some() && args.typed.iter().any(|word| is_bytes(word)) {
        return Err(Failure::usage("-BYTES and --since both say where to begin")
            .hint("leave one of them out"));
    }
    match of_following.into_iter().find(|(is_set, ..)| *is_set) {
        Some((_, flag, why)) if !args.follow => {
            Err(Failure::usage(format!("`{flag}` is for `tail -f`")).hint(why))
        }
        _ => Ok(()),
    }
}

/// A first word that begins with a dash, and the rest.
fn split_modifier(words: &[String]) -> (Option<&str>, &[String]) {
    match words.split_first() {
        Some((first, rest)) if first.starts_with('-') => (Some(first), rest),
        _ => (None, words),
    }
}

/// Whether a word is `-BYTES`.
fn is_bytes(word: &str) -> bool {
    word.starts_with('-') && bytes_of(word).is_some()
}

/// `-0` is everything, as supervisorctl has it.
fn bytes_of(modifier: &str) -> Option<u64> {
    match modifier.strip_prefix('-')?.parse().ok()? {
        0 => Some(u64::MAX),
        bytes => Some(bytes),
    }
}

fn channel_of(word: &str) -> Option<Channel> {
    match word {
        "stdout" => Some(Channel::Stdout),
        "stderr" => Some(Channel::Stderr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::TailLook;

    fn tail(line: &str) -> Tail {
        let words: Vec<&str> = line.split_whitespace().collect();
        let follow = words.contains(&"-f");
        let rest = words.iter().filter(|word| **word != "-f");
        Tail {
            follow,
            lines: None,
            since: None,
            raw: false,
            include: Vec::new(),
            without: Vec::new(),
            max_streams: None,
            look: TailLook::default(),
            words: rest.map(ToString::to_string).collect(),
            typed: words.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn supervisorctls_complaints_are_kept() {
        for (line, text) in [
            ("", "too few arguments"),
            ("-f", "tail requires process name"),
            ("-5", "tail requires process name"),
            ("-x a", "bad argument -x"),
            ("-n a", "bad argument -n"),
            ("a -n 30", "bad channel '30'"),
            ("a -n", "bad channel '-n'"),
            ("a -f", "bad channel '-f'"),
            ("a bogus", "bad channel 'bogus'"),
            ("a stdout x y", "too many arguments"),
        ] {
            let complaint = for_one(&tail(line)).unwrap_err();
            assert_eq!(complaint.text, text, "{line}");
        }
    }

    #[test]
    fn bytes_and_channel_are_read() {
        let wanted = for_one(&tail("-3 a stderr")).unwrap();
        assert_eq!((wanted.bytes, wanted.channel), (Some(3), Channel::Stderr));
        assert_eq!(for_one(&tail("-0 a")).unwrap().bytes, Some(u64::MAX));
        assert!(for_one(&tail("a")).unwrap().names_one());
        assert!(!for_one(&tail("a:*")).unwrap().names_one());
    }

    #[test]
    fn the_fleet_takes_several_programs() {
        let wanted = for_many(&tail("-f app side stderr")).unwrap();
        assert_eq!(wanted.programs, ["app", "side"]);
        assert_eq!(wanted.channel, Channel::Stderr);
        let named_stdout = for_many(&tail("stdout")).unwrap();
        assert_eq!(named_stdout.programs, ["stdout"]);
        assert!(for_many(&tail("-f")).is_err());
    }

    #[test]
    fn one_plain_host_is_one_source() {
        let hosts = |include: &str| HostSelection {
            include: vec![include.to_owned()],
            ..Default::default()
        };
        assert!(names_one_host(&hosts("web01")));
        assert!(!names_one_host(&hosts("web*")));
        assert!(!names_one_host(&hosts("web[1-2]")));
    }
}
