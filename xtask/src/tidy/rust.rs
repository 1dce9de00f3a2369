//! As much of Rust's syntax as the checks need: comments, literals, modules and tests.

use std::ops::Range;

/// What [`blank`] leaves in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Neither comments nor the inside of literals.
    Code,
    /// No comments and no characters, but string literals.
    Strings,
}

/// `source` with a blank for each character of its comments and, unless they are kept, of its string
/// and character literals, so that lines stay where they are.
pub(super) fn blank(source: &str, keep: Keep) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let rest = chars.get(at..).unwrap_or_default();
        let in_word = at > 0 && chars.get(at - 1).is_some_and(|&c| is_word(c));
        let (length, kept) = match (c, rest.get(1)) {
            ('/', Some('/')) => (line_comment(rest), false),
            ('/', Some('*')) => (block_comment(rest), false),
            ('"', _) => (string(rest), keep == Keep::Strings),
            // Never kept: a quote in one would look like the begin of a string.
            ('\'', _) => (character(rest), false),
            ('r' | 'b' | 'c', _) if !in_word => (raw_string(rest), keep == Keep::Strings),
            _ => (0, true),
        };
        if length == 0 {
            out.push(c);
            at += 1;
            continue;
        }
        for &c in rest.iter().take(length) {
            out.push(if kept || c == '\n' { c } else { ' ' });
        }
        at += length;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match (rest.get(at), rest.get(at + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                at += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while let Some(c) = rest.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character(rest: &[char]) -> usize {
    match (rest.get(1), rest.get(2)) {
        (Some('\\'), _) => {
            let end = rest.iter().skip(3).position(|&c| c == '\'');
            end.map_or(rest.len(), |end| end + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 0,
    }
}

/// The length of a raw string, whatever its prefix; 0 for anything else.
fn raw_string(rest: &[char]) -> usize {
    let prefix = rest
        .iter()
        .take_while(|c| matches!(c, 'b' | 'c' | 'r'))
        .count();
    if prefix > 2 || rest.get(prefix - 1) != Some(&'r') {
        return 0;
    }
    let hashes = rest.iter().skip(prefix).take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let closes = |at: usize| {
        rest.get(at) == Some(&'"')
            && rest
                .iter()
                .skip(at + 1)
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
    };
    (open + 1..rest.len())
        .find(|&at| closes(at))
        .map_or(rest.len(), |at| at + 1 + hashes)
}

/// The insides of the string literals of `code`, which has no comments any more.
pub(super) fn string_literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

/// `code`, blanked by [`blank`], with a blank for each character of items under `#[cfg(test)]`, so
/// that lines stay where they are.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut end = 0;
    for item in test_items(code) {
        out.push_str(&code[end..item.start]);
        out.extend(
            code[item.clone()]
                .chars()
                .map(|c| if c == '\n' { c } else { ' ' }),
        );
        end = item.end;
    }
    out.push_str(&code[end..]);
    out
}

/// How many lines `code`, blanked by [`blank`], has besides those of items under `#[cfg(test)]`.
pub(super) fn lines_without_tests(code: &str) -> usize {
    let lines = |text: &str| text.matches('\n').count();
    let tests: usize = test_items(code)
        .into_iter()
        .map(|item| lines(&code[item]) + 1)
        .sum();
    lines(code).saturating_sub(tests)
}

/// Where the items under `#[cfg(test)]` are in `code`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const TEST: &str = "#[cfg(test)]";
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(TEST) {
        let start = from + at;
        let body = start + TEST.len();
        from = body + item_length(&code[body..]);
        items.push(start..from);
    }
    items
}

/// The length of the item at the start of `code`: to its closing brace, or to its semicolon.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// A module that a file declares and that is another file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    /// What `#[path = "…"]` gives.
    pub(super) path: Option<String>,
    /// The inline modules around the declaration, the outermost first.
    pub(super) inside: Vec<String>,
}

/// The modules of other files that `code` declares; it has its literals and no comments.
pub(super) fn modules(code: &str) -> Vec<Module> {
    let tokens = tokens(code);
    let mut modules = Vec::new();
    let mut braces: Vec<Option<String>> = Vec::new();
    let mut path = None;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let ahead = |by: usize| tokens.get(at + by).copied().unwrap_or_default();
        match *token {
            "path" if ahead(1) == "=" && ahead(2).starts_with('"') => {
                path = Some(ahead(2).trim_matches('"').to_owned());
            }
            "mod" if ahead(2) == ";" => {
                modules.push(Module {
                    name: ahead(1).to_owned(),
                    path: path.take(),
                    inside: braces.iter().flatten().cloned().collect(),
                });
            }
            "mod" if ahead(2) == "{" => {
                braces.push(Some(ahead(1).to_owned()));
                at += 2;
            }
            "{" => braces.push(None),
            "}" => drop(braces.pop()),
            ";" => path = None,
            _ => {}
        }
        at += 1;
    }
    modules
}

/// Where the string literal ends that `rest` begins with.
fn string_end(rest: &str) -> usize {
    let mut is_escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(rest.len(), |(end, _)| end + 1)
}

/// Words, string literals and single signs.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_end(rest),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        for (source, blanked) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"a("b\"c", d)"#, "a(      , d)"),
            (r##"a(r#"b"c"#, d)"##, "a(        , d)"),
            ("a(br\"b\", d)", "a(     , d)"),
            ("a('\"', '\\'', b\"x\")", "a(   ,     , b   )"),
            ("fn a<'b>(c: &'b str)", "fn a<'b>(c: &'b str)"),
            ("var\"x\"", "var   "),
            ("\"a\nb\"", "  \n  "),
        ] {
            assert_eq!(blank(source, Keep::Code), blanked, "{source}");
        }
    }

    #[test]
    fn literals_can_be_kept() {
        let kept = blank("a(\"// b\") // \"c\"", Keep::Strings);
        assert_eq!(kept.trim_end(), "a(\"// b\")");
        assert_eq!(string_literals(&kept).collect::<Vec<_>>(), ["// b"]);
    }

    #[test]
    fn source_that_ends_in_the_middle_is_read_to_its_end() {
        for source in ["\"a", "/* a", "r#\"a", "'\\", "'", "\"\\"] {
            assert_eq!(
                blank(source, Keep::Code).chars().count(),
                source.chars().count(),
                "{source}"
            );
        }
    }

    #[test]
    fn items_of_tests_are_left_out() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n#[cfg(test)]\nuse d;\n";
        let kept = without_tests(code);
        assert_eq!(
            kept.split_whitespace().collect::<String>(),
            "fna(){}fnc(){}"
        );
        assert_eq!(
            kept.lines().nth(3),
            Some("fn c() {}"),
            "lines stay where they are"
        );
        assert_eq!(lines_without_tests(code), 2);
    }

    #[test]
    fn modules_are_found_with_what_surrounds_them() {
        let module = |name: &str, path: Option<&str>, inside: &[&str]| Module {
            name: name.to_owned(),
            path: path.map(str::to_owned),
            inside: inside.iter().map(|&outer| outer.to_owned()).collect(),
        };
        assert_eq!(
            modules(
                "pub(crate) mod a; fn f() { } mod b { pub mod c; } #[path = \"e.rs\"] mod d; mod g;"
            ),
            [
                module("a", None, &[]),
                module("c", None, &["b"]),
                module("d", Some("e.rs"), &[]),
                module("g", None, &[]),
            ]
        );
        let quotes = blank("fn f() { ['\"', \"\\\"\"]; } mod a;", Keep::Strings);
        assert_eq!(modules(&quotes), [module("a", None, &[])]);
    }
}
