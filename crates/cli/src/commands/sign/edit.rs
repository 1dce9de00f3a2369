//! Edits of one top-level field in the text of a YAML file; everything else stays byte for byte.
//!
//! It knows block mappings only. Its callers read the result again and compare, so that a file of
//! another form is refused and not spoilt.

/// Where a field that is not there yet goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Position {
    /// After this field; at the end if that is not there either.
    After(&'static str),
    /// At the end.
    End,
}

/// Sets a top-level field to `value`, which is YAML.
pub(super) fn set(text: &str, field: &str, value: &str, position: Position) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let ending = if lines.first().is_some_and(|line| line.ends_with("\r\n")) {
        "\r\n"
    } else {
        "\n"
    };
    let value = value.replace('\n', ending);
    let separator = if value.starts_with(['\n', '\r']) {
        ""
    } else {
        " "
    };
    if let Some((start, end)) = entry(&lines, field) {
        let comment = comment(lines[start])
            .map(|it| format!(" {it}"))
            .unwrap_or_default();
        // A list stands below its key, so a comment of the key comes before it.
        let line = match value.split_once(ending) {
            Some((first, rest)) => {
                format!("{field}:{separator}{first}{comment}{ending}{rest}{ending}")
            }
            None => format!("{field}:{separator}{value}{comment}{ending}"),
        };
        return [
            &lines[..start].concat(),
            line.as_str(),
            &lines[end..].concat(),
        ]
        .concat();
    }
    let at = match position {
        Position::After(other) => entry(&lines, other).map(|(_, end)| end),
        Position::End => None,
    };
    let at = at.unwrap_or_else(|| end_of_mapping(&lines));
    let mut before = lines[..at].concat();
    if !before.is_empty() && !before.ends_with('\n') {
        before.push_str(ending);
    }
    let line = format!("{field}:{separator}{value}{ending}");
    [before.as_str(), line.as_str(), &lines[at..].concat()].concat()
}

/// The lines of a top-level entry, from its key to before the next.
fn entry(lines: &[&str], field: &str) -> Option<(usize, usize)> {
    let start = lines.iter().position(|line| is_key(line, field))?;
    let mut end = start + 1;
    for (index, line) in lines.iter().enumerate().skip(start + 1) {
        let is_blank = line.trim().is_empty();
        let is_comment = line.starts_with('#');
        let continues = line.starts_with([' ', '\t']) || line.starts_with("- ");
        if continues && !is_blank {
            end = index + 1;
        } else if !is_blank && !is_comment {
            break;
        }
    }
    Some((start, end))
}

fn is_key(line: &str, field: &str) -> bool {
    [
        field.to_owned(),
        format!("\"{field}\""),
        format!("'{field}'"),
    ]
    .iter()
    .any(|key| {
        line.strip_prefix(key.as_str())
            .and_then(|rest| rest.trim_start_matches(' ').strip_prefix(':'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    })
}

/// The comment at the end of a line with a key.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_end();
    let (_, value) = line.split_once(':')?;
    let mut quote = None;
    let mut before = ' ';
    for (at, character) in value.char_indices() {
        match (quote, character) {
            (None, '#') if before.is_whitespace() => return value.get(at..),
            (None, '"' | '\'') if before.is_whitespace() => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        before = character;
    }
    None
}

/// Before the end of the document, if that is marked.
fn end_of_mapping(lines: &[&str]) -> usize {
    lines
        .iter()
        .position(|line| line.trim_end() == "...")
        .unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, field: &str, value: &str, position: Position, expected: &str) {
        assert_eq!(set(text, field, value, position), expected);
    }

    #[test]
    fn a_value_is_replaced_and_its_comment_stays() {
        check(
            "# top\nname: a\nchecksum: old # filled by sign\nowner: b\n",
            "checksum",
            "\"new\"",
            Position::End,
            "# top\nname: a\nchecksum: \"new\" # filled by sign\nowner: b\n",
        );
        check(
            "checksum: 'a # b'\n",
            "checksum",
            "\"c\"",
            Position::End,
            "checksum: \"c\"\n",
        );
    }

    #[test]
    fn a_missing_field_goes_after_another_or_to_the_end() {
        let text = "name: a\nversion: 1.0.0\n# about the owner\nowner: b";
        check(
            text,
            "checksum",
            "\"x\"",
            Position::After("version"),
            "name: a\nversion: 1.0.0\nchecksum: \"x\"\n# about the owner\nowner: b",
        );
        check(
            text,
            "signature",
            "\"x\"",
            Position::End,
            &format!("{text}\nsignature: \"x\"\n"),
        );
        check(
            "name: a\n...\n",
            "signature",
            "x",
            Position::End,
            "name: a\nsignature: x\n...\n",
        );
    }

    #[test]
    fn a_list_is_replaced_as_a_whole() {
        for list in ["signature:\n  - a\n  - b\n", "signature:\n- a\n- b\n"] {
            let text = format!("name: x\n{list}\n# the end\nowner: y\n");
            check(
                &text,
                "signature",
                "\"c\"",
                Position::End,
                "name: x\nsignature: \"c\"\n\n# the end\nowner: y\n",
            );
        }
        check(
            "a: 1\nsignature: b\n",
            "signature",
            "\n  - c\n  - d",
            Position::End,
            "a: 1\nsignature:\n  - c\n  - d\n",
        );
    }

    #[test]
    fn only_top_level_fields_count_and_line_endings_stay() {
        check(
            "metadata:\r\n  signature: inner\r\n",
            "signature",
            "x",
            Position::End,
            "metadata:\r\n  signature: inner\r\nsignature: x\r\n",
        );
        check(
            "signatures: 1\n",
            "signature",
            "x",
            Position::End,
            "signatures: 1\nsignature: x\n",
        );
    }
}
