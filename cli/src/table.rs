//! Columns of text for people.

use std::fmt::Write as _;

use anstyle::Style;

use crate::ui::{FAINT, paint, printable};

/// The space between columns.
const GAP: usize = 2;

/// One text in a table, and how it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// A plain one.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self {
            text: printable(text.as_ref()).into_owned(),
            style: None,
        }
    }

    /// In a style.
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            style: Some(style),
            ..Self::new(text)
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a header. A row may be shorter than the header: its last cell then runs on over the
/// columns that it lacks.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|h| Cell::styled(h, FAINT)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each with its end.
    pub(crate) fn render(&self, color: bool) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            for (i, cell) in row.iter().enumerate() {
                let shown = match cell.style {
                    Some(style) => paint(color, style, &cell.text),
                    None => cell.text.as_str().into(),
                };
                text.push_str(&shown);
                if i + 1 < row.len() {
                    let width = widths.get(i).copied().unwrap_or(0);
                    let blanks = width.saturating_sub(cell.width()) + GAP;
                    // Writing to a string cannot fail.
                    let _written = write!(text, "{:blanks$}", "");
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    /// Nothing is padded after the last cell of a row, so that cell does not count.
    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.header.len()];
        for row in std::iter::once(&self.header).chain(&self.rows) {
            for (cell, width) in row
                .iter()
                .take(row.len().saturating_sub(1))
                .zip(&mut widths)
            {
                *width = cell.width().max(*width);
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::BAD;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "B", "C"]);
        table.row(vec![Cell::new("longer"), Cell::new("x"), Cell::new("")]);
        table.row(vec![Cell::new("y"), Cell::new("runs on over the rest")]);
        assert_eq!(
            table.render(false),
            "A       B  C\nlonger  x\ny       runs on over the rest\n"
        );
    }

    #[test]
    fn colour_does_not_change_the_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::styled("x", BAD), Cell::new("y")]);
        let colored = table.render(true);
        assert!(colored.contains("\u{1b}[31mx\u{1b}[0m  y\n"), "{colored:?}");
    }
}
