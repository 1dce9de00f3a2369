//! What an evaluation knows of the request: who asks, for which tenant, with which attributes.

mod read;

use std::fmt;

use crate::hash::Ends;

pub use read::ATTRIBUTE_DEPTH_MAX;

/// How many attributes are looked through; among more, one is searched for.
const SCAN_MAX: usize = 16;

/// What an evaluation knows of the request.
///
/// Attributes are kept flat: the object `{"device": {"os": "ios"}}` is the attribute `device.os`,
/// and `device` exists. An attribute that is null is one that is missing. Reads do not allocate.
#[derive(Clone, Default)]
pub struct Context {
    /// All names and strings, one after the other, so that building takes few allocations.
    text: String,
    targeting_key: Span,
    tenant: Span,
    user: Span,
    agent: Span,
    conversation: Span,
    has_user: bool,
    /// In the order given while they are few enough to be looked through, then sorted by the ends of the name.
    entries: Vec<Entry>,
    items: Vec<Stored>,
}

/// A part of the context's text; where a whole field is empty, it was not given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Span {
    start: u32,
    length: u32,
}

/// A string and its ends beside it: most comparisons read nothing else.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Word {
    ends: Ends,
    start: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    name: Word,
    value: Stored,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stored {
    Bool(bool),
    Number(f64),
    Text(Word),
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

impl Span {
    #[inline]
    fn is_empty(self) -> bool {
        self.length == 0
    }
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

/// A string of a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    ctx: &'a Context,
    word: &'a Word,
}

impl<'a> Text<'a> {
    #[inline]
    pub(crate) fn ends(self) -> Ends {
        self.word.ends
    }

    #[inline]
    pub(crate) fn get(self) -> &'a str {
        self.ctx.word(self.word)
    }
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
        self.has_user |= !self.user.is_empty();
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
    #[inline]
    #[must_use]
    pub fn with<'a>(mut self, path: &str, value: impl Into<Attribute<'a>>) -> Self {
        self.set(path, value);
        self
    }

    /// As [`Context::with`], in place.
    #[inline]
    pub fn set<'a>(&mut self, path: &str, value: impl Into<Attribute<'a>>) {
        self.store(path, value.into());
    }

    fn store(&mut self, path: &str, value: Attribute<'_>) {
        if self.is_reserved(path) {
            return;
        }
        let stored = match value {
            Attribute::Bool(value) => Stored::Bool(value),
            Attribute::Number(number) if number.is_finite() => Stored::Number(number),
            Attribute::Number(_) => return,
            Attribute::Text(text) => Stored::Text(self.push_word(text)),
            Attribute::Texts(texts) => {
                let start = narrow(self.items.len());
                for text in texts {
                    let item = Stored::Text(self.push_word(text));
                    self.items.push(item);
                }
                let length = narrow(texts.len());
                Stored::List(Span { start, length })
            }
        };
        self.put(path, stored);
    }

    /// Says whether no attribute can be called so; notes that there is a user if it is one of theirs.
    #[inline]
    fn is_reserved(&mut self, path: &str) -> bool {
        let Some(rest) = reserved_root(path) else {
            return false;
        };
        if path.starts_with("user") {
            let has_place = matches!(rest, "" | ".id");
            self.has_user |= !has_place;
            return has_place;
        }
        true
    }

    /// What splits divide by unless they say otherwise: the key given, else the user, else the tenant.
    #[inline]
    pub fn targeting_key(&self) -> Option<&str> {
        let candidates = [self.targeting_key, self.user, self.tenant];
        candidates.into_iter().find_map(|it| self.given(it))
    }

    /// The tenant's id.
    #[inline]
    pub fn tenant(&self) -> Option<&str> {
        self.given(self.tenant)
    }

    /// The user's id.
    #[inline]
    pub fn user(&self) -> Option<&str> {
        self.given(self.user)
    }

    /// The agent that asks.
    pub fn agent(&self) -> Option<&str> {
        self.given(self.agent)
    }

    /// The conversation.
    pub fn conversation(&self) -> Option<&str> {
        self.given(self.conversation)
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

    /// Looks up an attribute that is a string, to be compared by its ends; most are, and this is the quickest.
    #[inline]
    pub(crate) fn attribute_text(&self, ends: Ends, path: &str) -> Option<Text<'_>> {
        // The search is written out: this is asked for most clauses, and a call costs as much as the search.
        let entry = if self.entries.len() <= SCAN_MAX {
            let mut entries = self.entries.iter();
            entries.find(|entry| self.is_called(entry, ends, path))
        } else {
            self.entry_of_many(ends, path)
        };
        match &entry?.value {
            Stored::Text(word) => Some(Text { ctx: self, word }),
            _ => None,
        }
    }

    #[inline]
    fn entry(&self, ends: Ends, path: &str) -> Option<&Entry> {
        let entries = self.entries.as_slice();
        if entries.len() > SCAN_MAX {
            return self.entry_of_many(ends, path);
        }
        entries
            .iter()
            .find(|entry| self.is_called(entry, ends, path))
    }

    /// As [`entry`](Self::entry), where there are too many to look through.
    #[cold]
    fn entry_of_many(&self, ends: Ends, path: &str) -> Option<&Entry> {
        let first = self.entries.partition_point(|it| it.name.ends < ends);
        let rest = self.entries.get(first..)?.iter();
        rest.take_while(|it| it.name.ends == ends)
            .find(|entry| self.is_called(entry, ends, path))
    }

    #[inline]
    fn is_called(&self, entry: &Entry, ends: Ends, path: &str) -> bool {
        entry.name.ends == ends && (ends.are_whole() || self.word(&entry.name) == path)
    }

    #[inline]
    fn seen(&self, stored: Stored) -> Seen<'_> {
        match stored {
            Stored::Bool(value) => Seen::Bool(value),
            Stored::Number(number) => Seen::Number(number),
            Stored::Text(word) => Seen::Text(self.word(&word)),
            Stored::List(span) => Seen::List(Items { ctx: self, span }),
            Stored::Object => Seen::Object,
        }
    }

    #[inline]
    fn given(&self, span: Span) -> Option<&str> {
        (!span.is_empty()).then(|| self.text(span))
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.text
            .get(start..start + span.length as usize)
            .unwrap_or_default()
    }

    #[inline]
    fn word(&self, word: &Word) -> &str {
        let (start, length) = (word.start, word.ends.length());
        self.text(Span { start, length })
    }

    fn push_word(&mut self, text: &str) -> Word {
        let start = self.push(text).start;
        let ends = Ends::of(text.as_bytes());
        Word { ends, start }
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

    fn push_given(&mut self, text: &str) -> Span {
        if text.is_empty() {
            return Span::default();
        }
        self.push(text)
    }

    /// Sets the attribute; says whether it was there before.
    fn put(&mut self, path: &str, value: Stored) -> bool {
        let ends = Ends::of(path.as_bytes());
        let count = self.entries.len();
        let first = if count <= SCAN_MAX {
            0
        } else {
            self.entries.partition_point(|it| it.name.ends < ends)
        };
        let rest = self.entries.get(first..).unwrap_or_default();
        let mut known = rest
            .iter()
            .take_while(|it| count <= SCAN_MAX || it.name.ends == ends);
        if let Some(at) = known.position(|it| self.is_called(it, ends, path)) {
            if let Some(entry) = self.entries.get_mut(first + at) {
                entry.value = value;
            }
            return true;
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve(8);
        }
        // What the ends hold as a whole need not be written down a second time.
        let start = if ends.are_whole() {
            0
        } else {
            self.push(path).start
        };
        let name = Word { ends, start };
        let entry = Entry { name, value };
        if count < SCAN_MAX {
            self.entries.push(entry);
        } else {
            if count == SCAN_MAX {
                self.entries.sort_unstable_by_key(|it| it.name.ends);
            }
            let at = self.entries.partition_point(|it| it.name.ends < ends);
            self.entries.insert(at, entry);
        }
        false
    }

    /// The name of an attribute, for a person.
    fn name(&self, entry: &Entry) -> String {
        let ends = entry.name.ends;
        ends.whole()
            .unwrap_or_else(|| self.word(&entry.name).to_owned())
    }
}

/// What follows the reserved name that a path begins with, if it does: nothing, or a dot and more.
#[inline]
fn reserved_root(path: &str) -> Option<&str> {
    let root = match path.as_bytes().first()? {
        b't' if path.starts_with("tenant") => "tenant",
        b't' => "targetingKey",
        b'u' => "user",
        b'a' => "agent",
        b'c' => "conversation",
        _ => return None,
    };
    let rest = path.strip_prefix(root)?;
    (rest.is_empty() || rest.starts_with('.')).then_some(rest)
}

/// A context is bounded to far less than 4 GiB; what a builder adds beyond that reads as empty.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl fmt::Debug for Context {
    /// Shows the paths that are known, not what they hold: contexts carry personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = self.entries.iter().map(|it| self.name(it)).collect();
        f.debug_struct("Context")
            .field("tenant", &self.tenant())
            .field("attributes", &known)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
