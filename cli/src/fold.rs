//! Hosts that agree share a line: `web[01-03]  (3)  app: stopped, started`.

use std::fmt::Write as _;

use rsv_proto::{fold::fold, name::natural_order};

use crate::{args::Fold, ui::printable};

/// The width of a count with its brackets, up to 99 hosts, so that most lists look alike.
const COUNT_WIDTH: usize = 4;

/// A line of the result: hosts and what is said of each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The hosts, in natural order.
    pub(crate) hosts: Vec<String>,
    /// The same for each of them.
    pub(crate) text: String,
}

/// Puts hosts of which the same is said into one line. Lines keep the order in which their texts
/// first came, unless they are not folded, when they are in the order of hosts.
pub(crate) fn fold_lines(said: Vec<(String, String)>, how: Fold) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (host, text) in said {
        let same = lines.iter_mut().find(|line| line.text == text);
        match same.filter(|_| how != Fold::Never) {
            Some(line) => line.hosts.push(host),
            None => lines.push(Line {
                hosts: vec![host],
                text,
            }),
        }
    }
    for line in &mut lines {
        line.hosts.sort_by(|a, b| natural_order(a, b));
        line.hosts.dedup();
    }
    if how == Fold::Never {
        lines.sort_by(|a, b| natural_order(&a.hosts[0], &b.hosts[0]));
    }
    lines
}

/// The lines as text, with the hosts' count unless nothing is folded.
pub(crate) fn render_lines(lines: &[Line], how: Fold) -> String {
    let names: Vec<String> = lines.iter().map(|line| folded(&line.hosts)).collect();
    let counts: Vec<String> = lines
        .iter()
        .map(|line| format!("({})", line.hosts.len()))
        .collect();
    let name_width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let count_width = counts.iter().map(String::len).max().unwrap_or(0);
    let count_width = count_width.max(COUNT_WIDTH) + 1;
    let mut text = String::new();
    for ((line, name), count) in lines.iter().zip(&names).zip(&counts) {
        let said = printable(&line.text);
        // Writing to a string cannot fail.
        let _written = match how {
            Fold::Never => writeln!(text, "{name:name_width$}  {said}"),
            Fold::Auto | Fold::Always => {
                writeln!(text, "{name:name_width$}{count:>count_width$}  {said}")
            }
        };
    }
    text
}

/// Hosts as one text.
pub(crate) fn folded(hosts: &[String]) -> String {
    printable(&fold(hosts.iter().map(String::as_str))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Vec<(String, String)> {
        let mut said: Vec<(String, String)> = [9, 7, 1, 2, 3, 4, 5, 6, 10]
            .iter()
            .map(|n| (format!("web{n:02}"), "app: stopped, started".to_owned()))
            .collect();
        let failed = "app: ERROR (spawn error): exit 127 \"app: not found\"";
        said.push(("web08".to_owned(), failed.to_owned()));
        said.extend((11..=20).map(|n| (format!("web{n}"), "not attempted".to_owned())));
        said
    }

    #[test]
    fn hosts_that_agree_share_a_line() {
        let lines = fold_lines(said(), Fold::Auto);
        insta::assert_snapshot!(render_lines(&lines, Fold::Auto), @r#"
        web[01-07,09-10]  (9)  app: stopped, started
        web08             (1)  app: ERROR (spawn error): exit 127 "app: not found"
        web[11-20]       (10)  not attempted
        "#);
    }

    #[test]
    fn without_folding_each_host_has_its_line() {
        let lines = fold_lines(said(), Fold::Never);
        let text = render_lines(&lines, Fold::Never);
        assert_eq!(text.lines().count(), 20);
        assert_eq!(text.lines().next(), Some("web01  app: stopped, started"));
    }
}
