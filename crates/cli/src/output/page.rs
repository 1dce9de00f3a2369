//! A page of text: lines, aligned fields and tables.

use std::fmt::Display;

use crate::output::{Paint, Style};

/// One cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// Makes a cell that is coloured.
    pub(crate) fn new(text: impl Display, paint: Paint) -> Self {
        Self {
            text: text.to_string(),
            paint,
        }
    }

    /// The same with more text.
    pub(crate) fn with(&self, more: &str) -> Self {
        Self::new(format!("{}{more}", self.text), self.paint)
    }

    /// The same on one line.
    fn flat(&self) -> Self {
        if !self.text.contains(['\n', '\r', '\t']) {
            return self.clone();
        }
        let words: Vec<_> = self.text.split_whitespace().collect();
        Self::new(words.join(" "), self.paint)
    }

    /// How it is coloured.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }
}

impl<T: Display> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Paint::Plain)
    }
}

/// What a command shows to a person.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    style: Style,
    /// How wide the terminal is; none where the text goes elsewhere, and is not cut.
    columns: Option<usize>,
}

/// Narrower than this no column is made: what is left would say nothing.
const COLUMN_CHARS_MIN: usize = 12;

impl Page {
    /// Makes an empty page, whose tables are cut to so many columns.
    pub(crate) fn new(style: Style, columns: Option<usize>) -> Self {
        Self {
            text: String::new(),
            style,
            columns,
        }
    }

    /// Cuts tables no more.
    pub(crate) fn uncut(&mut self) {
        self.columns = None;
    }

    /// The text, with a line feed at its end.
    pub(crate) fn finish(self) -> String {
        self.style.visible(&self.text)
    }

    /// Colours text for a line of this page.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        self.style.paint(paint, text)
    }

    /// Adds a line, and never more than one: whoever wrote a text of it could forge others.
    pub(crate) fn line(&mut self, line: impl Display) {
        let line = line.to_string();
        self.text.push_str(&one_line(line.trim_end()));
        self.text.push('\n');
    }

    /// Adds an empty line, unless the page is empty.
    pub(crate) fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Adds a heading, apart from what is above it.
    pub(crate) fn heading(&mut self, text: &str) {
        self.gap();
        let heading = self.paint(Paint::Bold, text);
        self.line(heading);
    }

    /// Adds names and values in two columns; entries without a value are left out.
    pub(crate) fn fields<V: Into<Cell>>(&mut self, fields: Vec<(&str, Option<V>)>) {
        let fields: Vec<(&str, Cell)> = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.into())))
            .collect();
        let width = fields
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        for (name, value) in fields {
            let padded = format!("{name:<width$}");
            let name = self.paint(Paint::Dim, &padded);
            let value = self.paint(value.paint, &value.text);
            self.line(format!("  {name}  {value}"));
        }
    }

    /// Adds a table with aligned columns; columns without any text are left out, and so are headers.
    ///
    /// Says so if there are no rows.
    pub(crate) fn table(&mut self, headers: &[&str], rows: &[Vec<Cell>]) {
        if rows.is_empty() {
            self.line("nothing to list");
            return;
        }
        let used: Vec<bool> = (0..headers.len())
            .map(|column| {
                rows.iter()
                    .any(|row| row.get(column).is_some_and(|cell| !cell.text.is_empty()))
            })
            .collect();
        let rows: Vec<Vec<Cell>> = rows
            .iter()
            .map(|row| row.iter().map(Cell::flat).collect())
            .collect();
        let mut widths: Vec<usize> = headers
            .iter()
            .enumerate()
            .map(|(column, header)| {
                rows.iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.text.chars().count())
                    .chain([header.chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        if let Some(columns) = self.columns {
            fit(&mut widths, &used, columns);
        }
        let headers: Vec<Cell> = headers
            .iter()
            .map(|header| Cell::new(header, Paint::Dim))
            .collect();
        let has_headers = headers.iter().any(|header| !header.text.is_empty());
        for row in std::iter::once(&headers)
            .filter(|_| has_headers)
            .chain(&rows)
        {
            let mut line = String::new();
            let mut pending = 0;
            for ((cell, width), used) in row.iter().zip(&widths).zip(&used) {
                if !used {
                    continue;
                }
                line.push_str(&" ".repeat(pending));
                let text = cut(&cell.text, *width);
                line.push_str(&self.paint(cell.paint, &text));
                pending = width - text.chars().count() + 2;
            }
            self.line(line);
        }
    }

    /// Adds lines, each moved to the right.
    pub(crate) fn indented(&mut self, text: &str, spaces: usize) {
        for line in text.lines() {
            self.line(format!("{}{line}", " ".repeat(spaces)));
        }
    }
}

/// The text with its line breaks written out.
pub(crate) fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

/// Takes from the widest columns until all fit, or none can be made narrower.
fn fit(widths: &mut [usize], used: &[bool], columns: usize) {
    loop {
        let shown = || widths.iter().zip(used).filter(|(_, used)| **used);
        let total: usize = shown().map(|(width, _)| width + 2).sum();
        let over = total.saturating_sub(2).saturating_sub(columns);
        let widest = widths.iter_mut().zip(used).filter(|(_, used)| **used);
        match widest.map(|(width, _)| width).max() {
            Some(width) if over > 0 && *width > COLUMN_CHARS_MIN => *width -= 1,
            _ => return,
        }
    }
}

/// The text in so many characters, with `…` where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_leave_out_empty_columns() {
        let mut page = Page::new(Style::plain(), None);
        page.table(
            &["NAME", "NOTE", "SIZE"],
            &[
                vec!["a".into(), "".into(), 1.into()],
                vec!["größer".into(), "".into(), 20.into()],
            ],
        );
        assert_eq!(page.finish(), "NAME    SIZE\na       1\ngrößer  20\n");
    }

    #[test]
    fn tables_are_cut_to_the_terminal_and_nowhere_else() {
        let long = "a text of many words that no narrow terminal has room for";
        let show = |columns| {
            let mut page = Page::new(Style::plain(), columns);
            page.table(&["NAME", "NOTE"], &[vec!["x".into(), long.into()]]);
            page.finish()
        };
        assert_eq!(show(None), format!("NAME  NOTE\nx     {long}\n"));
        assert_eq!(
            show(Some(30)),
            "NAME  NOTE\nx     a text of many words th…\n"
        );
        assert_eq!(show(Some(5)), "NAME  NOTE\nx     a text of m…\n");
        let mut page = Page::new(Style::plain(), None);
        page.table(&[""], &[vec!["two\n  lines".into()]]);
        assert_eq!(page.finish(), "two lines\n");
    }

    #[test]
    fn no_text_within_a_line_makes_another_line() {
        let forged = "fine\nrevision 99\u{2028}\r\n  who  ceo";
        let shown = "fine\\nrevision 99\\u{2028}\\u{d}\\n  who  ceo";
        let mut page = Page::new(Style::plain(), None);
        page.line(forged);
        page.fields(vec![("why", Some(forged))]);
        page.heading(forged);
        let expected = format!("{shown}\n  why  {shown}\n\n{shown}\n");
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn a_table_without_rows_says_so() {
        let mut page = Page::new(Style::plain(), None);
        page.table(&["NAME"], &[]);
        assert_eq!(page.finish(), "nothing to list\n");
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let mut page = Page::new(Style::plain(), None);
        page.fields(vec![
            ("plan", Some("free")),
            ("region", None),
            ("id", Some("t1")),
        ]);
        assert_eq!(page.finish(), "  plan  free\n  id    t1\n");
    }
}
