//! What an evaluation knows of the request: who asks, for which tenant, with which attributes.

mod read;

use std::fmt;

use crate::hash::Ends;

pub use read::ATTRIBUTE_DEPTH_MAX;

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

#[cfg(test)]
mod tests;
