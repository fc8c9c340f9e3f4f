//! Output for people (aligned tables) and for scripts (`-o json`). Both go to standard output; notes go to standard error.

use std::io::{self, Write};

use serde::Serialize;

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// An aligned table.
    #[default]
    Table,
    /// JSON: one document, or one object a line for commands that stream.
    Json,
}

/// A table whose columns are as wide as their widest cell.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds one row; missing cells are empty, surplus ones are dropped.
    pub(crate) fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: ToString,
    {
        let mut row: Vec<String> = cells.into_iter().map(|cell| cell.to_string()).collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// The table as text, one line a row, each line ended by a newline. Numbers are set to the right.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = self
            .head
            .iter()
            .enumerate()
            .map(|(column, title)| {
                let cells =
                    self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.chain([title.len()]).max().unwrap_or(0)
            })
            .collect();
        let numeric: Vec<bool> = (0..self.head.len())
            .map(|column| {
                let mut cells = self.rows.iter().filter_map(|row| row.get(column)).peekable();
                cells.peek().is_some() && cells.all(|cell| is_number(cell))
            })
            .collect();
        let head: Vec<String> = self.head.iter().map(ToString::to_string).collect();
        std::iter::once(&head).chain(&self.rows).map(|row| line(row, &widths, &numeric)).collect()
    }
}

fn line(row: &[String], widths: &[usize], numeric: &[bool]) -> String {
    let mut text = String::new();
    for ((cell, width), right) in row.iter().zip(widths).zip(numeric) {
        let pad = width.saturating_sub(cell.chars().count());
        if *right {
            text.extend(std::iter::repeat_n(' ', pad));
            text.push_str(cell);
        } else {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', pad));
        }
        text.push_str("  ");
    }
    let mut text = text.trim_end().to_owned();
    text.push('\n');
    text
}

fn is_number(cell: &str) -> bool {
    cell == "-"
        || cell.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | ',')) && !cell.is_empty()
}

/// Prints `value` as JSON, or what `table` makes of it.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    let text = match format {
        Format::Table => table(value),
        Format::Json => {
            let mut text = serde_json::to_string_pretty(value)?;
            text.push('\n');
            text
        }
    };
    write(&text)
}

/// Prints one JSON object on a line of its own.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn print_line<T: Serialize>(value: &T) -> io::Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    write(&text)
}

/// Writes text and flushes it, so that a reader of a pipe sees it at once.
///
/// # Errors
/// Standard output is closed or full.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_stand_right() {
        let mut table = Table::new(&["NAME", "QUEUES"]);
        table.row(["orders", "8"]);
        table.row(["a", "16"]);
        assert_eq!(table.render(), "NAME    QUEUES\norders       8\na           16\n");
    }

    #[test]
    fn an_empty_table_is_its_head() {
        assert_eq!(Table::new(&["A", "B"]).render(), "A  B\n");
    }

    #[test]
    fn a_short_row_is_filled() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["x"]);
        assert_eq!(table.render(), "A  B\nx\n");
    }
}
