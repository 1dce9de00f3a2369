//! Texts to be compared with: their ends beside them, because most comparisons need no more.

use crate::hash::{Ends, FastSet};

/// A text and its ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    ends: Ends,
    text: Box<str>,
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let ends = Ends::of(text.as_bytes());
        let text = text.into();
        Self { ends, text }
    }
}

impl Text {
    #[inline]
    fn is<'t>(&self, ends: Ends, text: impl Fn() -> &'t str) -> bool {
        self.ends == ends && (ends.are_whole() || *self.text == *text())
    }

    #[inline]
    fn starts<'t>(&self, ends: Ends, text: impl Fn() -> &'t str) -> bool {
        const ENDS_MAX: u32 = 8;
        if self.ends.length() <= ENDS_MAX {
            ends.starts_with(self.ends)
        } else {
            text().starts_with(&*self.text)
        }
    }
}

/// Texts to be found among.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Texts {
    One(Text),
    /// Few enough to be looked through.
    Few {
        /// The bits of all of them, so that most others are told apart by one look.
        bits: u64,
        texts: Box<[Text]>,
    },
    Many(Box<FastSet<Box<str>>>),
}

impl Texts {
    const FEW: usize = 8;

    pub(crate) fn new<'t>(mut texts: impl ExactSizeIterator<Item = &'t str>) -> Self {
        if texts.len() == 1
            && let Some(only) = texts.next()
        {
            Self::One(only.into())
        } else if texts.len() <= Self::FEW {
            let texts: Box<[Text]> = texts.map(Into::into).collect();
            let bits = texts.iter().fold(0, |bits, it| bits | it.ends.bit());
            Self::Few { bits, texts }
        } else {
            Self::Many(Box::new(texts.map(Into::into).collect()))
        }
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.has_ends(Ends::of(text.as_bytes()), || text)
    }

    /// As [`Texts::has`], of a text whose ends are known.
    #[inline]
    pub(super) fn has_ends<'t>(&self, ends: Ends, text: impl Fn() -> &'t str) -> bool {
        match self {
            Self::One(only) => only.is(ends, text),
            Self::Few { bits, texts } => {
                bits & ends.bit() != 0 && texts.iter().any(|it| it.is(ends, &text))
            }
            Self::Many(many) => many.contains(text()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Few { texts, .. } if texts.is_empty())
    }
}

/// Texts to begin with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heads {
    One(Text),
    Some(Box<[Text]>),
}

impl Heads {
    pub(super) fn new<'t>(heads: impl Iterator<Item = &'t str>) -> Self {
        let heads: Vec<Text> = heads.map(Into::into).collect();
        match <[Text; 1]>::try_from(heads) {
            Ok([only]) => Self::One(only),
            Err(heads) => Self::Some(heads.into()),
        }
    }

    /// Says whether a text begins with one of them.
    #[inline]
    pub(super) fn start<'t>(&self, ends: Ends, text: impl Fn() -> &'t str) -> bool {
        match self {
            Self::One(only) => only.starts(ends, text),
            Self::Some(heads) => heads.iter().any(|it| it.starts(ends, &text)),
        }
    }
}
