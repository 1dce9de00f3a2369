//! `{$file: prompts/x.md}`: texts of the tree that stand inside documents.

use std::collections::{BTreeMap, BTreeSet};

use plane_model::{Code, Pointer, Violation, Violations, limits};
use serde_json::{Map, Value};

/// The field that stands for the text of a file.
pub(super) const FILE: &str = "$file";

/// Puts the texts of files in the place of the objects that name them.
pub(super) struct Includer<'t> {
    /// All files of the tree, by path.
    pub(super) files: &'t BTreeMap<&'t str, &'t [u8]>,
    /// The files that were put somewhere.
    pub(super) used: &'t mut BTreeSet<String>,
    /// How many bytes may still be put into the document.
    pub(super) bytes_left: usize,
    /// Whether `$file` may also be a name of something else, as in a JSON Schema.
    pub(super) may_be_a_name: bool,
}

impl Includer<'_> {
    /// Walks `value`, which its reader bounds in depth.
    pub(super) fn expand(
        &mut self,
        value: &mut Value,
        pointer: &mut Pointer,
        found: &mut Violations,
    ) {
        match value {
            Value::Object(members) => match self.text(members, pointer) {
                Some(Ok(text)) => *value = Value::String(text),
                Some(Err(violation)) => found.push(violation),
                None => {
                    for (key, member) in members {
                        pointer.push_key(key);
                        self.expand(member, pointer, found);
                        pointer.pop();
                    }
                }
            },
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    pointer.push_index(index);
                    self.expand(item, pointer, found);
                    pointer.pop();
                }
            }
            _ => {}
        }
    }

    /// The text that `members` stand for, if they stand for one.
    fn text(
        &mut self,
        members: &Map<String, Value>,
        pointer: &Pointer,
    ) -> Option<Result<String, Violation>> {
        let at = pointer.key(FILE);
        let wrong = |code, detail: String| Violation::new(code, at.as_str(), detail);
        let path = match members.get(FILE)? {
            Value::String(path) => path,
            _ if self.may_be_a_name => return None,
            _ => {
                return Some(Err(wrong(
                    Code::FieldInvalid,
                    "`$file` names a file of the tree".to_owned(),
                )
                .next("write a path such as `prompts/greeting.md`")));
            }
        };
        if members.len() > 1 {
            let violation = wrong(
                Code::FieldInvalid,
                "an object with `$file` holds nothing else".to_owned(),
            );
            return Some(Err(violation.next("remove the other fields")));
        }
        let is_inside = !path.contains('\\')
            && path
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..");
        if !is_inside {
            let violation = wrong(
                Code::FieldInvalid,
                format!("`{path}` is not a path inside the tree"),
            );
            return Some(Err(violation.next(
                "write the path from the tree's root, with `/` and without `.` and `..`",
            )));
        }
        let Some(bytes) = self.files.get(path.as_str()) else {
            let violation = wrong(
                Code::ReferenceMissing,
                format!("the tree has no file `{path}`"),
            );
            return Some(Err(violation.next(
                "add the file, or correct the path: it begins at the tree's root",
            )));
        };
        self.used.insert(path.clone());
        let Some(bytes_left) = self.bytes_left.checked_sub(bytes.len()) else {
            let detail = format!(
                "the texts that the file takes in have more than {} bytes",
                limits::COMMIT_BYTES_MAX
            );
            return Some(Err(
                wrong(Code::LimitExceeded, detail).next("take in fewer or smaller texts")
            ));
        };
        self.bytes_left = bytes_left;
        let text = std::str::from_utf8(bytes)
            .ok()
            .map(|text| text.strip_prefix('\u{feff}').unwrap_or(text))
            .filter(|text| !text.contains('\0'));
        Some(match text {
            Some(text) => Ok(text.replace("\r\n", "\n")),
            None => Err(wrong(
                Code::TextInvalid,
                format!("`{path}` is not a text in UTF-8"),
            )
            .next("save the file as UTF-8 text without NUL characters")),
        })
    }
}
