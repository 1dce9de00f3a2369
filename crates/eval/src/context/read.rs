//! Reads a context from JSON: as this product writes it, or flat as `OpenFeature` does.

use std::io::Write;

use plane_model::{Code, Pointer, TenantId, Violation, Violations, limits};
use serde_json::{Map, Value};

use super::{Context, Span, Stored, narrow, reserved_root};

/// How deeply objects may nest below `attributes` or `user`; attribute paths reach no deeper.
pub const ATTRIBUTE_DEPTH_MAX: usize = 8;

impl Context {
    /// Reads a context from its JSON form.
    ///
    /// The form is `{"targetingKey"?, "tenant"?: id or {"id"}, "user"?: id or {"id", …}, "agent"?,
    /// "conversation"?, "attributes"?: {…}}`. What is known of a tenant beside its id comes from the
    /// tenant's document, never from the caller.
    ///
    /// # Errors
    /// [`Code::ContextInvalid`] for every field that is unknown or has the wrong form, and for a
    /// context beyond [`limits::CONTEXT_ATTRIBUTES_MAX`], [`limits::CONTEXT_BYTES_MAX`] or
    /// [`ATTRIBUTE_DEPTH_MAX`].
    pub fn parse(value: &Value) -> Result<Self, Violations> {
        let mut reader = Reader::default();
        if let Some(members) = reader.whole(value) {
            for (name, value) in members {
                if name == "attributes" {
                    reader.attributes(value);
                } else if !reader.known(name, value, Tenant::Strict) {
                    reader.refuse(
                        &Pointer::root().key(name),
                        format!("unknown field `{name}`"),
                        "put attributes of your own under `attributes`",
                    );
                }
            }
        }
        reader.finish()
    }

    /// Reads a context as `OpenFeature` writes it: fields that have no place of their own are attributes.
    ///
    /// What such a context says of a tenant beside its id is passed over, because the tenant's
    /// document says it better.
    ///
    /// # Errors
    /// As [`Context::parse`], but no field is unknown.
    pub fn parse_flat(value: &Value) -> Result<Self, Violations> {
        let mut reader = Reader::default();
        if let Some(members) = reader.whole(value) {
            for (name, value) in members {
                if !reader.known(name, value, Tenant::Tolerant) {
                    reader.attribute(name, value, &Pointer::root().key(name), 1);
                }
            }
        }
        reader.finish()
    }
}

/// How what a caller says of a tenant beside its id is taken.
#[derive(Clone, Copy, PartialEq)]
enum Tenant {
    Strict,
    Tolerant,
}

#[derive(Default)]
struct Reader {
    ctx: Context,
    count: usize,
    found: Violations,
}

impl Reader {
    fn refuse(&mut self, pointer: &Pointer, detail: impl Into<String>, next: &str) {
        if self.found.len() < limits::VIOLATIONS_MAX {
            let violation = Violation::new(Code::ContextInvalid, pointer.as_str(), detail);
            self.found.push(violation.next(next));
        }
    }

    fn whole<'v>(&mut self, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = value else {
            let root = Pointer::root();
            self.refuse(&root, "a context is an object", "write `{}` for none");
            return None;
        };
        if json_bytes(value) > limits::CONTEXT_BYTES_MAX {
            let detail = format!(
                "the context has more than {} bytes",
                limits::CONTEXT_BYTES_MAX
            );
            let next = "send only the attributes that rules use";
            self.refuse(&Pointer::root(), detail, next);
            return None;
        }
        Some(members)
    }

    /// Reads a field that has a place of its own; false if it has none.
    fn known(&mut self, name: &str, value: &Value, tenant: Tenant) -> bool {
        let pointer = Pointer::root().key(name);
        match name {
            "targetingKey" => self.ctx.targeting_key = self.id(&pointer, value),
            "agent" => self.ctx.agent = self.id(&pointer, value),
            "conversation" => self.ctx.conversation = self.id(&pointer, value),
            "tenant" => self.tenant(&pointer, value, tenant),
            "user" => self.user(&pointer, value),
            _ => return false,
        }
        true
    }

    fn id(&mut self, pointer: &Pointer, value: &Value) -> Span {
        match value {
            Value::String(text) => self.ctx.push_given(text),
            Value::Null => Span::default(),
            _ => {
                self.refuse(pointer, "expected a string", "put the value in quotes");
                Span::default()
            }
        }
    }

    fn tenant(&mut self, pointer: &Pointer, value: &Value, mode: Tenant) {
        let (pointer, id) = match value {
            Value::Object(members) => {
                for name in members.keys().filter(|name| *name != "id") {
                    if mode == Tenant::Strict {
                        self.refuse(
                            &pointer.key(name),
                            format!("unknown field `{name}`"),
                            "plan, region, status and labels come from the tenant's document; send only `id`",
                        );
                    }
                }
                let Some(id) = members.get("id") else {
                    self.refuse(pointer, "the tenant has no `id`", "add `id`");
                    return;
                };
                (pointer.key("id"), id)
            }
            other => (pointer.clone(), other),
        };
        if let Value::String(text) = id
            && !text.is_empty()
            && let Err(error) = TenantId::new(text)
        {
            self.refuse(&pointer, error.to_string(), "send the tenant's id");
            return;
        }
        self.ctx.tenant = self.id(&pointer, id);
    }

    fn user(&mut self, pointer: &Pointer, value: &Value) {
        let Value::Object(members) = value else {
            self.ctx.user = self.id(pointer, value);
            self.ctx.has_user = !self.ctx.user.is_empty();
            return;
        };
        self.ctx.has_user = true;
        for (name, value) in members {
            let pointer = pointer.key(name);
            if name == "id" {
                self.ctx.user = self.id(&pointer, value);
            } else {
                self.attribute(&format!("user.{name}"), value, &pointer, 1);
            }
        }
    }

    fn attributes(&mut self, value: &Value) {
        let pointer = Pointer::root().key("attributes");
        let Value::Object(members) = value else {
            self.refuse(
                &pointer,
                "expected an object",
                "write names with values, or `{}` for none",
            );
            return;
        };
        for (name, value) in members {
            let pointer = pointer.key(name);
            if reserved_root(name).is_some() {
                self.refuse(
                    &pointer,
                    format!("no attribute can be called `{name}`"),
                    "put it beside `attributes`, not into it",
                );
            } else {
                self.attribute(name, value, &pointer, 1);
            }
        }
    }

    fn attribute(&mut self, path: &str, value: &Value, pointer: &Pointer, depth: usize) {
        if depth > ATTRIBUTE_DEPTH_MAX {
            let detail = format!("attributes nest deeper than {ATTRIBUTE_DEPTH_MAX}");
            self.refuse(pointer, detail, "make the attribute flatter");
            return;
        }
        let stored = match value {
            Value::Null => return,
            Value::Bool(value) => Stored::Bool(*value),
            Value::Number(number) => Stored::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => Stored::Text(self.ctx.push_word(text)),
            Value::Array(list) => self.list(list),
            Value::Object(_) => Stored::Object,
        };
        self.count += 1;
        if self.count == limits::CONTEXT_ATTRIBUTES_MAX + 1 {
            let detail = format!(
                "the context has more than {} attributes",
                limits::CONTEXT_ATTRIBUTES_MAX
            );
            let next = "send only the attributes that rules use";
            self.refuse(&Pointer::root(), detail, next);
        }
        if self.count > limits::CONTEXT_ATTRIBUTES_MAX {
            return;
        }
        if self.ctx.put(path, stored) {
            self.refuse(
                pointer,
                format!("two attributes are called `{path}`"),
                "a dot in a name means the same as an object: write only one of the two",
            );
        }
        if let Value::Object(members) = value {
            for (name, value) in members {
                let pointer = pointer.key(name);
                self.attribute(&format!("{path}.{name}"), value, &pointer, depth + 1);
            }
        }
    }

    fn list(&mut self, list: &[Value]) -> Stored {
        let start = narrow(self.ctx.items.len());
        for item in list {
            let item = match item {
                Value::Bool(value) => Stored::Bool(*value),
                Value::Number(number) => Stored::Number(number.as_f64().unwrap_or_default()),
                Value::String(text) => Stored::Text(self.ctx.push_word(text)),
                // Nothing that a clause can name is equal to these.
                Value::Null | Value::Array(_) | Value::Object(_) => Stored::Object,
            };
            self.ctx.items.push(item);
        }
        let length = narrow(list.len());
        Stored::List(Span { start, length })
    }

    fn finish(self) -> Result<Context, Violations> {
        if self.found.is_empty() {
            Ok(self.ctx)
        } else {
            Err(self.found)
        }
    }
}

/// Counts the bytes of a value as JSON, without writing it anywhere.
pub(super) fn json_bytes(value: &Value) -> usize {
    struct Count(usize);

    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
