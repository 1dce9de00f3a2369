//! What an evaluation knows of the request: who asks, for which tenant, with which attributes.

use std::fmt;
use std::io::Write;

use plane_model::{Code, Pointer, TenantId, Violation, Violations, limits};
use serde_json::{Map, Value};

use crate::hash::Ends;

/// How deeply objects may nest below `attributes` or `user`; attribute paths reach no deeper.
pub const ATTRIBUTE_DEPTH_MAX: usize = 8;

/// Names that have a place of their own in a context, so that no attribute can be called so.
const RESERVED: [&str; 5] = ["targetingKey", "tenant", "user", "agent", "conversation"];

/// What an evaluation knows of the request.
///
/// Attributes are kept flat: the object `{"device": {"os": "ios"}}` is the attribute `device.os`,
/// and `device` exists. An attribute that is null is one that is missing. Reads do not allocate.
#[derive(Clone, Default)]
pub struct Context {
    /// All names and strings, one after the other, so that building takes few allocations.
    text: String,
    targeting_key: Option<Span>,
    tenant: Option<Span>,
    user: Option<Span>,
    agent: Option<Span>,
    conversation: Option<Span>,
    has_user: bool,
    /// Sorted by the ends of the name.
    entries: Vec<Entry>,
    items: Vec<Stored>,
}

/// A part of the context's text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    ends: Ends,
    name: Span,
    value: Stored,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    Bool(bool),
    Number(f64),
    Text(Span),
    /// Elements of `items`.
    List(Span),
    Object,
}

/// A value of an attribute, as it is given to [`Context::with`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attribute<'a> {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(&'a str),
    /// A list of strings.
    Texts(&'a [&'a str]),
}

impl<'a> From<&'a str> for Attribute<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Attribute<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Attribute<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Attribute<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Attribute<'_> {
    fn from(number: i32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl<'a> From<&'a [&'a str]> for Attribute<'a> {
    fn from(texts: &'a [&'a str]) -> Self {
        Self::Texts(texts)
    }
}

/// What a context holds under a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seen<'a> {
    Missing,
    Bool(bool),
    Number(f64),
    Text(&'a str),
    List(Items<'a>),
    Object,
}

/// The elements of a list attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Items<'a> {
    ctx: &'a Context,
    span: Span,
}

impl PartialEq for Items<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> Items<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Seen<'a>> {
        let start = self.span.start as usize;
        let items = self
            .ctx
            .items
            .get(start..start + self.span.length as usize)
            .unwrap_or_default();
        items.iter().map(move |item| self.ctx.seen(*item))
    }
}

impl Context {
    /// Makes a context that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what splits divide by unless they say otherwise; an empty one counts as not given.
    #[must_use]
    pub fn with_targeting_key(mut self, key: &str) -> Self {
        self.targeting_key = self.push_given(key);
        self
    }

    /// Sets the tenant's id; an empty one counts as not given.
    #[must_use]
    pub fn with_tenant(mut self, id: &str) -> Self {
        self.tenant = self.push_given(id);
        self
    }

    /// Sets the user's id; an empty one counts as not given.
    #[must_use]
    pub fn with_user(mut self, id: &str) -> Self {
        self.user = self.push_given(id);
        self.has_user |= self.user.is_some();
        self
    }

    /// Sets the agent that asks; an empty one counts as not given.
    #[must_use]
    pub fn with_agent(mut self, name: &str) -> Self {
        self.agent = self.push_given(name);
        self
    }

    /// Sets the conversation; an empty one counts as not given.
    #[must_use]
    pub fn with_conversation(mut self, id: &str) -> Self {
        self.conversation = self.push_given(id);
        self
    }

    /// Sets an attribute by its path, such as `device.os`, or a user's, such as `user.country`.
    ///
    /// A name that is reserved (`tenant` and what is below it, `targetingKey`, `user.id`, `agent`,
    /// `conversation`) is passed over: those have setters of their own. The same goes for a number
    /// that is not finite.
    #[must_use]
    pub fn with<'a>(mut self, path: &str, value: impl Into<Attribute<'a>>) -> Self {
        let root = path.split('.').next().unwrap_or_default();
        if path == "user.id" || path == "user" || (root != "user" && RESERVED.contains(&root)) {
            return self;
        }
        self.has_user |= root == "user";
        let stored = match value.into() {
            Attribute::Bool(value) => Stored::Bool(value),
            Attribute::Number(number) if number.is_finite() => Stored::Number(number),
            Attribute::Number(_) => return self,
            Attribute::Text(text) => Stored::Text(self.push(text)),
            Attribute::Texts(texts) => {
                let start = narrow(self.items.len());
                for text in texts {
                    let item = Stored::Text(self.push(text));
                    self.items.push(item);
                }
                let length = narrow(texts.len());
                Stored::List(Span { start, length })
            }
        };
        self.put(path, stored);
        self
    }

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
                        Some("put attributes of your own under `attributes`"),
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

    /// What splits divide by unless they say otherwise: the key given, else the user, else the tenant.
    #[inline]
    pub fn targeting_key(&self) -> Option<&str> {
        self.targeting_key
            .or(self.user)
            .or(self.tenant)
            .map(|span| self.text(span))
    }

    /// The tenant's id.
    #[inline]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.map(|span| self.text(span))
    }

    /// The user's id.
    #[inline]
    pub fn user(&self) -> Option<&str> {
        self.user.map(|span| self.text(span))
    }

    /// The agent that asks.
    pub fn agent(&self) -> Option<&str> {
        self.agent.map(|span| self.text(span))
    }

    /// The conversation.
    pub fn conversation(&self) -> Option<&str> {
        self.conversation.map(|span| self.text(span))
    }

    /// The service that asks: the attribute `service`, which config layers select by.
    pub fn service(&self) -> Option<&str> {
        match self.attribute(Ends::of(b"service"), "service") {
            Seen::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Says whether anything is known of a user.
    pub(crate) fn has_user(&self) -> bool {
        self.has_user
    }

    /// Looks up an attribute by its path and the path's ends.
    #[inline]
    pub(crate) fn attribute(&self, ends: Ends, path: &str) -> Seen<'_> {
        self.entry(ends, path)
            .map_or(Seen::Missing, |entry| self.seen(entry.value))
    }

    /// Looks up an attribute that is a string; most are, and this is the quickest.
    #[inline]
    pub(crate) fn attribute_text(&self, ends: Ends, path: &str) -> Option<&str> {
        match self.entry(ends, path)?.value {
            Stored::Text(span) => Some(self.text(span)),
            _ => None,
        }
    }

    #[inline]
    fn entry(&self, ends: Ends, path: &str) -> Option<&Entry> {
        const SCAN_MAX: usize = 16;
        let entries = self.entries.as_slice();
        let entries = if entries.len() <= SCAN_MAX {
            entries
        } else {
            let first = entries.partition_point(|entry| entry.ends < ends);
            let rest = entries.get(first..).unwrap_or_default();
            let same = rest.iter().take_while(|entry| entry.ends == ends).count();
            rest.get(..same).unwrap_or_default()
        };
        entries
            .iter()
            .find(|entry| entry.ends == ends && (ends.are_whole() || self.text(entry.name) == path))
    }

    #[inline]
    fn seen(&self, stored: Stored) -> Seen<'_> {
        match stored {
            Stored::Bool(value) => Seen::Bool(value),
            Stored::Number(number) => Seen::Number(number),
            Stored::Text(span) => Seen::Text(self.text(span)),
            Stored::List(span) => Seen::List(Items { ctx: self, span }),
            Stored::Object => Seen::Object,
        }
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.text
            .get(start..start + span.length as usize)
            .unwrap_or_default()
    }

    fn push(&mut self, text: &str) -> Span {
        if self.text.capacity() == 0 {
            self.text.reserve(192);
        }
        let start = narrow(self.text.len());
        self.text.push_str(text);
        let length = narrow(text.len());
        Span { start, length }
    }

    fn push_given(&mut self, text: &str) -> Option<Span> {
        (!text.is_empty()).then(|| self.push(text))
    }

    /// Sets the attribute; says whether it was there before.
    fn put(&mut self, path: &str, value: Stored) -> bool {
        if self.entries.capacity() == 0 {
            self.entries.reserve(8);
        }
        let ends = Ends::of(path.as_bytes());
        let first = self.entries.partition_point(|entry| entry.ends < ends);
        let mut at = first;
        while let Some(entry) = self.entries.get(at).filter(|entry| entry.ends == ends) {
            if self.text(entry.name) == path {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.value = value;
                }
                return true;
            }
            at += 1;
        }
        let name = self.push(path);
        self.entries.insert(first, Entry { ends, name, value });
        false
    }
}

/// A context is bounded to far less than 4 GiB; what a builder adds beyond that reads as empty.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl fmt::Debug for Context {
    /// Shows the paths that are known, not what they hold: contexts carry personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = self.entries.iter().map(|it| self.text(it.name)).collect();
        f.debug_struct("Context")
            .field("tenant", &self.tenant())
            .field("attributes", &known)
            .finish_non_exhaustive()
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
    fn refuse(&mut self, pointer: &Pointer, detail: impl Into<String>, next: Option<&str>) {
        if self.found.len() < limits::VIOLATIONS_MAX {
            let violation = Violation::new(Code::ContextInvalid, pointer.as_str(), detail);
            self.found.push(match next {
                Some(next) => violation.next(next),
                None => violation,
            });
        }
    }

    fn whole<'v>(&mut self, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = value else {
            let root = Pointer::root();
            self.refuse(&root, "a context is an object", Some("write `{}` for none"));
            return None;
        };
        if json_bytes(value) > limits::CONTEXT_BYTES_MAX {
            let detail = format!(
                "the context has more than {} bytes",
                limits::CONTEXT_BYTES_MAX
            );
            let next = "send only the attributes that rules use";
            self.refuse(&Pointer::root(), detail, Some(next));
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

    fn id(&mut self, pointer: &Pointer, value: &Value) -> Option<Span> {
        match value {
            Value::String(text) => self.ctx.push_given(text),
            Value::Null => None,
            _ => {
                self.refuse(pointer, "expected a string", None);
                None
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
                            Some("plan, region, status and labels come from the tenant's document; send only `id`"),
                        );
                    }
                }
                let Some(id) = members.get("id") else {
                    self.refuse(pointer, "the tenant has no `id`", Some("add `id`"));
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
            self.refuse(&pointer, error.to_string(), None);
            return;
        }
        self.ctx.tenant = self.id(&pointer, id);
    }

    fn user(&mut self, pointer: &Pointer, value: &Value) {
        let Value::Object(members) = value else {
            self.ctx.user = self.id(pointer, value);
            self.ctx.has_user = self.ctx.user.is_some();
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
            self.refuse(&pointer, "expected an object", None);
            return;
        };
        for (name, value) in members {
            let pointer = pointer.key(name);
            let root = name.split('.').next().unwrap_or_default();
            if RESERVED.contains(&root) {
                self.refuse(
                    &pointer,
                    format!("no attribute can be called `{name}`"),
                    Some("put it beside `attributes`, not into it"),
                );
            } else {
                self.attribute(name, value, &pointer, 1);
            }
        }
    }

    fn attribute(&mut self, path: &str, value: &Value, pointer: &Pointer, depth: usize) {
        if depth > ATTRIBUTE_DEPTH_MAX {
            let detail = format!("attributes nest deeper than {ATTRIBUTE_DEPTH_MAX}");
            self.refuse(pointer, detail, None);
            return;
        }
        let stored = match value {
            Value::Null => return,
            Value::Bool(value) => Stored::Bool(*value),
            Value::Number(number) => Stored::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => Stored::Text(self.ctx.push(text)),
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
            self.refuse(&Pointer::root(), detail, Some(next));
        }
        if self.count > limits::CONTEXT_ATTRIBUTES_MAX {
            return;
        }
        if self.ctx.put(path, stored) {
            self.refuse(
                pointer,
                format!("two attributes are called `{path}`"),
                Some("a dot in a name means the same as an object: write only one of the two"),
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
                Value::String(text) => Stored::Text(self.ctx.push(text)),
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
fn json_bytes(value: &Value) -> usize {
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn seen<'a>(ctx: &'a Context, path: &str) -> Seen<'a> {
        ctx.attribute(Ends::of(path.as_bytes()), path)
    }

    fn check(value: &Value, expected: &Expect) {
        let found = Context::parse(value).unwrap_err();
        let lines: Vec<_> = found.iter().map(|it| format!("{it}\n")).collect();
        expected.assert_eq(&lines.concat());
    }

    #[test]
    fn the_targeting_key_is_the_one_given_else_the_user_else_the_tenant() {
        for (value, expected) in [
            (
                json!({"targetingKey": "k", "user": "u", "tenant": "t"}),
                Some("k"),
            ),
            (
                json!({"targetingKey": "", "user": {"id": "u"}, "tenant": "t"}),
                Some("u"),
            ),
            (
                json!({"user": {"country": "de"}, "tenant": {"id": "t"}}),
                Some("t"),
            ),
            (json!({"agent": "a", "conversation": "c"}), None),
        ] {
            let ctx = Context::parse(&value).unwrap();
            assert_eq!(ctx.targeting_key(), expected, "{value}");
        }
    }

    #[test]
    fn nested_attributes_are_found_by_their_path() {
        let value = json!({
            "user": {"id": "u", "country": "de"},
            "attributes": {"device": {"os": "ios", "ram": 8}, "beta": true, "tags": ["a", 1], "gone": null}
        });
        let ctx = Context::parse(&value).unwrap();
        assert_eq!(seen(&ctx, "device.os"), Seen::Text("ios"));
        assert_eq!(seen(&ctx, "device.ram"), Seen::Number(8.0));
        assert_eq!(seen(&ctx, "device"), Seen::Object);
        assert_eq!(seen(&ctx, "user.country"), Seen::Text("de"));
        assert_eq!(seen(&ctx, "beta"), Seen::Bool(true));
        assert_eq!(seen(&ctx, "gone"), Seen::Missing);
        assert_eq!(seen(&ctx, "os"), Seen::Missing);
        let Seen::List(items) = seen(&ctx, "tags") else {
            panic!("a list was given")
        };
        let items: Vec<_> = items.iter().collect();
        assert_eq!(items, [Seen::Text("a"), Seen::Number(1.0)]);
    }

    #[test]
    fn every_mistake_in_a_context_is_reported_at_its_place() {
        check(
            &json!([]),
            &expect![[r"
            a context is an object [CONTEXT_INVALID]; write `{}` for none
        "]],
        );
        check(
            &json!({
                "agent": 1, "attributes": {"tenant": "t", "a.b": 1, "a": {"b": 2}}, "country": "de",
                "tenant": {"id": "a b", "plan": "free"}
            }),
            &expect![[r"
                /agent: expected a string [CONTEXT_INVALID]
                /attributes/a.b: two attributes are called `a.b` [CONTEXT_INVALID]; a dot in a name means the same as an object: write only one of the two
                /attributes/tenant: no attribute can be called `tenant` [CONTEXT_INVALID]; put it beside `attributes`, not into it
                /country: unknown field `country` [CONTEXT_INVALID]; put attributes of your own under `attributes`
                /tenant/plan: unknown field `plan` [CONTEXT_INVALID]; plan, region, status and labels come from the tenant's document; send only `id`
                /tenant/id: `a b` is not a valid tenant id: 1 to 128 letters, digits or any of `_.:@=+-`, starting with a letter, digit or `_` [CONTEXT_INVALID]
            "]],
        );
    }

    #[test]
    fn a_context_at_its_limits_is_read_and_one_beyond_is_refused() {
        let many = |count: usize| {
            let attributes: Map<_, _> = (0..count).map(|i| (format!("a{i}"), json!(i))).collect();
            Context::parse(&json!({"attributes": attributes}))
        };
        let ctx = many(limits::CONTEXT_ATTRIBUTES_MAX).unwrap();
        for i in [0, 100, 255] {
            assert_eq!(seen(&ctx, &format!("a{i}")), Seen::Number(f64::from(i)));
        }
        assert!(many(limits::CONTEXT_ATTRIBUTES_MAX + 1).is_err());

        let frame = json_bytes(&json!({"attributes": {"a": ""}}));
        let long = |bytes: usize| Context::parse(&json!({"attributes": {"a": "x".repeat(bytes)}}));
        assert!(long(limits::CONTEXT_BYTES_MAX - frame).is_ok());
        assert!(long(limits::CONTEXT_BYTES_MAX - frame + 1).is_err());

        let deep = |depth: usize| {
            let value = (0..depth).fold(json!(1), |value, _| json!({"a": value}));
            Context::parse(&json!({"attributes": value}))
        };
        assert!(deep(ATTRIBUTE_DEPTH_MAX).is_ok());
        assert!(deep(ATTRIBUTE_DEPTH_MAX + 1).is_err());
    }

    #[test]
    fn a_flat_context_is_the_same_as_a_structured_one() {
        let flat =
            json!({"targetingKey": "k", "country": "de", "tenant": {"id": "t", "plan": "x"}});
        let structured =
            json!({"targetingKey": "k", "attributes": {"country": "de"}, "tenant": "t"});
        let flat = Context::parse_flat(&flat).unwrap();
        let structured = Context::parse(&structured).unwrap();
        assert_eq!(flat.targeting_key(), structured.targeting_key());
        assert_eq!(flat.tenant(), structured.tenant());
        assert_eq!(seen(&flat, "country"), seen(&structured, "country"));
        assert_eq!(seen(&flat, "tenant.plan"), Seen::Missing);
    }

    #[test]
    fn the_builder_sets_attributes_but_no_reserved_names() {
        let ctx = Context::new()
            .with_tenant("t")
            .with("country", "de")
            .with("country", "fr")
            .with("tenant.plan", "enterprise")
            .with("targetingKey", "x")
            .with("ratio", f64::NAN);
        assert_eq!(seen(&ctx, "country"), Seen::Text("fr"));
        assert_eq!(seen(&ctx, "tenant.plan"), Seen::Missing);
        assert_eq!(seen(&ctx, "ratio"), Seen::Missing);
        assert_eq!(ctx.targeting_key(), Some("t"));
    }
}
