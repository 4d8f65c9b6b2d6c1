//! Many host names as one short text: `web01 web02 web03 db01` is `db01,web[01-03]`.
//!
//! Only the last number of a name is folded, and only names whose numbers are equally wide (or
//! unpadded) share a fold, so that unfolding gives exactly the same names.

use std::collections::BTreeMap;

use crate::name::natural_order;

/// Folds names; the order of the result does not depend on the order of the names.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut families: BTreeMap<Family<'a>, Vec<u64>> = BTreeMap::new();
    let mut parts: Vec<String> = Vec::new();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by(|a, b| natural_order(a, b));
    names.dedup();
    for name in names {
        match split(name) {
            Some((family, number)) => families.entry(family).or_default().push(number),
            None => parts.push(name.to_owned()),
        }
    }
    parts.extend(
        families
            .iter()
            .map(|(family, numbers)| family.render(numbers)),
    );
    parts.sort_by(|a, b| natural_order(a, b));
    parts.join(",")
}

/// Names that differ only in one number of one width.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Family<'a> {
    prefix: &'a str,
    suffix: &'a str,
    /// The width of padded numbers; 0: numbers without leading zeros.
    width: usize,
}

impl Family<'_> {
    fn render(&self, numbers: &[u64]) -> String {
        let Self {
            prefix,
            suffix,
            width,
        } = self;
        let show = |n: u64| format!("{n:0width$}", width = *width);
        if let [one] = numbers {
            return format!("{prefix}{}{suffix}", show(*one));
        }
        let ranges: Vec<String> = ranges(numbers)
            .into_iter()
            .map(|(first, last)| match last - first {
                0 => show(first),
                _ => format!("{}-{}", show(first), show(last)),
            })
            .collect();
        format!("{prefix}[{}]{suffix}", ranges.join(","))
    }
}

fn split(name: &str) -> Option<(Family<'_>, u64)> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |i| i + 1);
    let digits = &name[start..end];
    // Numbers beyond this cannot be counted through; such a name stands alone.
    if digits.len() > 15 {
        return None;
    }
    let number = digits.parse().ok()?;
    let padded = digits.len() > 1 && digits.starts_with('0');
    // `08 09 10 11` is one family: a number that fills the width needs no padding of its own, so
    // two-digit names and wider ones are counted by their width, and one digit by none.
    let width = if padded || digits.len() > 1 {
        digits.len()
    } else {
        0
    };
    Some((
        Family {
            prefix: &name[..start],
            suffix: &name[end..],
            width,
        },
        number,
    ))
}

/// Consecutive runs in ascending numbers.
fn ranges(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for &n in numbers {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => found.push((n, n)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::HostPattern;

    #[test]
    fn names_are_folded_by_their_last_number() {
        for (names, folded) in [
            (vec!["web03", "web01", "web02"], "web[01-03]"),
            (vec!["web01", "web02", "web05", "db1"], "db1,web[01-02,05]"),
            (vec!["web01"], "web01"),
            (vec!["a", "b"], "a,b"),
            (vec!["web9", "web10", "web11"], "web9,web[10-11]"),
            (vec!["r1-web1.x", "r1-web2.x"], "r1-web[1-2].x"),
            (vec![], ""),
        ] {
            assert_eq!(fold(names.iter().copied()), folded);
        }
    }

    proptest! {
        #[test]
        fn unfolding_gives_the_same_names(
            mut names in proptest::collection::vec("(web|db|x-)(0[0-9]|[0-9]{1,3})(a|\\.b)?", 1..20)
        ) {
            names.sort_by(|a, b| natural_order(a, b));
            names.dedup();
            let folded = fold(names.iter().map(String::as_str));
            let pattern: HostPattern = folded.parse().unwrap();
            let mut again = pattern.literal_names().unwrap();
            again.sort_by(|a, b| natural_order(a, b));
            prop_assert_eq!(again, names);
        }
    }
}
