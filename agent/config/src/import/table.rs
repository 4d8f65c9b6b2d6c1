//! The differences as COMPATIBILITY.md has them: the tables below its first heading.

use std::sync::LazyLock;

/// The page, in the state in which this was built.
const PAGE: &str = include_str!("../../../COMPATIBILITY.md");

/// The heading of the part with the tables.
const PART: &str = "## Deliberate differences";

/// One row of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table, such as `Processes`.
    pub table: &'static str,
    /// What it is about, unique on the page.
    pub topic: &'static str,
    /// What Supervisor does.
    pub supervisor: &'static str,
    /// What is done here.
    pub here: &'static str,
    /// Why; may be empty.
    pub why: &'static str,
}

impl Difference {
    /// The one about this topic.
    pub(super) fn about(topic: &str) -> Option<&'static Self> {
        differences().iter().find(|row| row.topic == topic)
    }
}

/// Everything that is different on purpose, in the order of the page.
pub fn differences() -> &'static [Difference] {
    static ROWS: LazyLock<Vec<Difference>> = LazyLock::new(|| rows(PAGE));
    &ROWS
}

fn rows(page: &'static str) -> Vec<Difference> {
    let part = page.split_once(PART).map_or("", |(_, part)| part);
    let part = part.split("\n## ").next().unwrap_or_default();
    let mut table = "";
    let mut rows = Vec::new();
    for line in part.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            table = heading;
        } else if let Some(row) = row(table, line) {
            rows.push(row);
        }
    }
    rows
}

/// A row of four cells; none for the head of a table and for everything else.
fn row(table: &'static str, line: &'static str) -> Option<Difference> {
    let cells: Vec<&str> = line
        .strip_prefix('|')?
        .strip_suffix('|')?
        .split('|')
        .collect();
    let [topic, supervisor, here, why] = cells[..] else {
        return None;
    };
    let topic = topic.trim();
    let is_head = topic.is_empty() || topic.starts_with("---");
    (!is_head).then(|| Difference {
        table,
        topic,
        supervisor: supervisor.trim(),
        here: here.trim(),
        why: why.trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_a_row_and_no_topic_comes_twice() {
        let part = PAGE
            .split_once(PART)
            .unwrap()
            .1
            .split("\n## ")
            .next()
            .unwrap();
        let lines = part.lines().filter(|line| line.starts_with('|'));
        let heads = part.lines().filter(|line| line.starts_with("| |")).count();
        // Each table has a head and a line below it.
        assert_eq!(differences().len(), lines.count() - 2 * heads);
        for (index, row) in differences().iter().enumerate() {
            assert!(!row.table.is_empty() && !row.here.is_empty(), "{row:?}");
            let again = &differences()[index + 1..];
            assert!(
                again.iter().all(|other| other.topic != row.topic),
                "{row:?}"
            );
        }
    }
}
