//! What selects hosts beyond their names: `--limit`, `--seed`, and selectors from standard input.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Read},
};

use rsv_proto::wire::host_limit::Size;

use super::Global;

/// The most that is read from standard input: far more than ten thousand names.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// What stands for standard input.
const STDIN: &str = "-";

/// Only some of the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Size);

/// Reads `N` or `N%`.
pub(crate) fn parse_limit(text: &str) -> Result<Limit, String> {
    let accepted = || "a limit is a number of hosts from 1, or 1% to 100%".to_owned();
    let (number, is_percent) = match text.trim().strip_suffix('%') {
        Some(number) => (number, true),
        None => (text.trim(), false),
    };
    let number: u32 = number.parse().map_err(|_| accepted())?;
    match (number, is_percent) {
        (1..=100, true) => Ok(Limit(Size::Percent(number))),
        (1.., false) => Ok(Limit(Size::Count(number))),
        _ => Err(accepted()),
    }
}

impl Global {
    /// Puts what standard input holds where `-` stands: selectors with blanks or line ends between
    /// them, lines that begin with `#` left out.
    pub(crate) fn take_hosts_from(&mut self, input: impl Read) -> io::Result<()> {
        if !self.host.iter().any(|selector| selector == STDIN) {
            return Ok(());
        }
        let mut text = String::new();
        input.take(MAX_INPUT + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_INPUT {
            let what = format!("more than {MAX_INPUT} bytes of host names");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(str::split_whitespace);
        self.host.retain(|selector| selector != STDIN);
        self.host
            .extend(words.map(|word| word.trim_matches(',').to_owned()));
        self.host.retain(|selector| !selector.is_empty());
        if self.host.is_empty() {
            let what = "no host names in it";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(())
    }

    /// Chooses a seed for a limit that has none; true: one was chosen.
    pub(crate) fn choose_seed(&mut self) -> bool {
        let is_missing = self.limit.is_some() && self.seed.is_none();
        if is_missing {
            // Each hasher of the standard library is keyed anew: random enough for lots.
            let random = RandomState::new().build_hasher().finish();
            self.seed = Some(format!("{:08x}", random >> 32));
        }
        is_missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;

    #[test]
    fn limits_are_numbers_or_shares() {
        assert_eq!(parse_limit("3"), Ok(Limit(Size::Count(3))));
        assert_eq!(parse_limit("10%"), Ok(Limit(Size::Percent(10))));
        for text in ["", "0", "0%", "101%", "-1", "1.5", "%"] {
            assert!(parse_limit(text).is_err(), "{text:?}");
        }
    }

    fn from_input(line: &str, input: &str) -> Result<Vec<String>, String> {
        let mut global = Arguments::read(line.split(' ')).unwrap().global;
        let taken = global.take_hosts_from(input.as_bytes());
        taken.map(|()| global.host).map_err(|e| e.to_string())
    }

    #[test]
    fn hosts_come_from_standard_input_where_a_dash_stands() {
        let found = from_input(
            "rsv -H - -H db1 status",
            "# mine\nweb1 web2,\n\n web[3-4]\n",
        );
        assert_eq!(found.unwrap(), ["db1", "web1", "web2", "web[3-4]"]);
        let found = from_input("rsv -H db1 status", "web1");
        assert_eq!(found.unwrap(), ["db1"], "nobody asked for the input");
        let found = from_input("rsv -H - status", "\n#x\n");
        assert_eq!(found.unwrap_err(), "no host names in it");
    }

    #[test]
    fn a_seed_is_chosen_only_when_one_is_needed() {
        let chosen = |line: &str| {
            let mut global = Arguments::read(line.split(' ')).unwrap().global;
            (global.choose_seed(), global.seed.map(|seed| seed.len()))
        };
        assert_eq!(chosen("rsv -A status"), (false, None));
        assert_eq!(chosen("rsv -A --limit 3 status"), (true, Some(8)));
        assert_eq!(
            chosen("rsv -A --limit 3 --seed abc status"),
            (false, Some(3))
        );
    }
}
