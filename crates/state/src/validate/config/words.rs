//! The words of our own in a config schema: each says something, and stands where it is read.

use plane_model::{Code, Pointer, Selector, Violation, Violations};
use plane_registry::schema;
use serde_json::{Map, Value};

const OVERRIDE: &str = "x-override";
const MERGE: &str = "x-merge";
/// How a list is merged by a field of its items.
const BY_KEY: &str = "by-key:";

/// Which words are read in one part of a schema.
#[derive(Clone, Copy, Default)]
struct Readers {
    /// Whether `x-override` is: at the root, and in what `properties` and `additionalProperties` lead to from there.
    overrides: bool,
    /// Whether `x-merge` is.
    merge: bool,
    /// Whether layers are merged by what its `properties` say.
    members: bool,
}

impl Readers {
    const ROOT: Self = Self {
        overrides: true,
        merge: false,
        members: true,
    };

    /// Which are read in what `keyword` leads to.
    fn below(self, keyword: &str, rule: Option<&str>) -> Self {
        match keyword {
            "properties" => Self {
                merge: self.members,
                ..self
            },
            "additionalProperties" => Self {
                overrides: self.overrides,
                ..Self::default()
            },
            "items" if self.merge && rule.is_some_and(|it| it.starts_with(BY_KEY)) => Self {
                overrides: false,
                merge: true,
                members: true,
            },
            _ => Self::default(),
        }
    }
}

/// Refuses `x-override` and `x-merge` where they say nothing that is known, and where nobody reads them: what they mean
/// to allow or to merge would silently not be.
pub(super) fn check(here: &str, schema: &Value, found: &mut Violations) {
    walk(here, &Pointer::root(), schema, Readers::ROOT, found);
}

fn walk(here: &str, at: &Pointer, schema: &Value, readers: Readers, found: &mut Violations) {
    let Some(members) = schema.as_object() else {
        return;
    };
    check_override(here, at, members, readers, found);
    check_merge(here, at, members, readers, found);
    let rule = members.get(MERGE).and_then(Value::as_str);
    for (keyword, steps, below) in schema::subschemas(members) {
        let at = steps.iter().fold(at.clone(), |at, step| at.key(step));
        walk(here, &at, below, readers.below(keyword, rule), found);
    }
}

fn check_override(
    here: &str,
    at: &Pointer,
    members: &Map<String, Value>,
    readers: Readers,
    found: &mut Violations,
) {
    let Some(named) = members.get(OVERRIDE) else {
        return;
    };
    let at = at.key(OVERRIDE);
    if readers.overrides {
        check_layers_named(here, &at, named, found);
        return;
    }
    let detail = "`x-override` is not read here: only the properties of the document themselves say who sets them";
    found.push(
        Violation::new(Code::SchemaInvalid, format!("{here}{at}"), detail).next(
            "write it in the property that is to be set, beside the `$ref` or the combination, or at the root for all",
        ),
    );
}

/// Refuses names in an `x-override` that are none of a layer.
fn check_layers_named(here: &str, at: &Pointer, named: &Value, found: &mut Violations) {
    let mut refuse = |at: &Pointer, named: &Value| {
        if !named
            .as_str()
            .is_some_and(|it| Selector::LAYERS.contains(&it))
        {
            let detail = format!("`x-override` names {named}, which is no layer");
            found.push(
                Violation::new(Code::SchemaInvalid, format!("{here}{at}"), detail)
                    .next(format!("use some of {}", Selector::LAYERS.join(", "))),
            );
        }
    };
    match named {
        Value::Array(names) => {
            for (index, name) in names.iter().enumerate() {
                refuse(&at.index(index), name);
            }
        }
        one => refuse(at, one),
    }
}

fn check_merge(
    here: &str,
    at: &Pointer,
    members: &Map<String, Value>,
    readers: Readers,
    found: &mut Violations,
) {
    let Some(rule) = members.get(MERGE) else {
        return;
    };
    let at = at.key(MERGE);
    let is_known = rule.as_str().is_some_and(|rule| {
        let field = rule.strip_prefix(BY_KEY);
        matches!(rule, "append" | "replace") || field.is_some_and(|field| !field.is_empty())
    });
    let (detail, next) = if !readers.merge {
        (
            "`x-merge` is not read here: only the properties of the document themselves, and those of items that \
             merge by key, say how layers merge"
                .to_owned(),
            "write it in the property itself, beside the `$ref` or the combination",
        )
    } else if is_known {
        return;
    } else {
        (
            format!("`x-merge` says {rule}, which is no way to merge"),
            "use `append`, `replace` or `by-key:FIELD`, with the field that items have in common",
        )
    };
    let pointer = format!("{here}{at}");
    found.push(Violation::new(Code::SchemaInvalid, pointer, detail).next(next));
}
