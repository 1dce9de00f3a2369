//! Versions as services report them: semantic, with a `v` in front or parts left out.

use std::borrow::Cow;
use std::cmp::Ordering;

/// A version as a service reports it, such as `v1.4`, `2` or `1.0.0-rc.1+build`; it borrows its text.
///
/// Ordered by precedence: a pre-release comes before its release, build metadata does not count,
/// and a part that is left out is zero.
#[derive(Debug, Clone)]
pub struct ReportedVersion<'a> {
    core: [u64; 3],
    /// The pre-release, empty for a release.
    pre: Cow<'a, str>,
}

impl<'a> ReportedVersion<'a> {
    /// Reads a version; none if the text is not one.
    pub fn new(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        let (numbers, pre) = match text.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (text, None),
        };
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || it == b'-')
        };
        let is_number = |word: &str| word.bytes().all(|it| it.is_ascii_digit());
        let has_leading_zero = |word: &str| word.len() > 1 && word.starts_with('0');
        if build.is_some_and(|build| !build.split('.').all(is_word)) {
            return None;
        }
        let is_part = |part: &str| is_word(part) && !(is_number(part) && has_leading_zero(part));
        if pre.is_some_and(|pre| !pre.split('.').all(is_part)) {
            return None;
        }
        let mut core = [0; 3];
        let mut parts = numbers.split('.');
        for (place, part) in core.iter_mut().zip(parts.by_ref()) {
            if part.is_empty() || !is_number(part) || has_leading_zero(part) {
                return None;
            }
            *place = part.parse().ok()?;
        }
        let whole = parts.next().is_none();
        whole.then_some(Self {
            core,
            pre: Cow::Borrowed(pre.unwrap_or_default()),
        })
    }

    /// The version without the text that it was read from.
    pub fn into_owned(self) -> ReportedVersion<'static> {
        ReportedVersion {
            core: self.core,
            pre: Cow::Owned(self.pre.into_owned()),
        }
    }

    /// The first number.
    pub fn major(&self) -> u64 {
        let [major, ..] = self.core;
        major
    }

    /// The second number.
    pub fn minor(&self) -> u64 {
        let [_, minor, _] = self.core;
        minor
    }
}

impl Ord for ReportedVersion<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => compare_pre(&self.pre, &other.pre),
        };
        self.core.cmp(&other.core).then(pre)
    }
}

impl PartialOrd for ReportedVersion<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ReportedVersion<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ReportedVersion<'_> {}

/// Compares pre-releases part by part: numbers by value and before words; more parts come later.
fn compare_pre(left: &str, right: &str) -> Ordering {
    let is_number = |part: &str| part.bytes().all(|it| it.is_ascii_digit());
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (is_number(left), is_number(right)) {
                // Without leading zeros the longer number is the larger one, however long.
                (true, true) => left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => left.cmp(right),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_that_of_semantic_versioning() {
        let ordered = [
            "0.0.1",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2",
            "2",
            "10.0.0",
        ];
        for (index, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                let (a, b) = (ReportedVersion::new(left), ReportedVersion::new(right));
                assert_eq!(
                    a.unwrap().cmp(&b.unwrap()),
                    index.cmp(&other),
                    "{left} {right}"
                );
            }
        }
    }

    #[test]
    fn a_prefix_missing_parts_and_build_metadata_make_no_difference() {
        for (left, right) in [
            ("v1.0.0", "1.0.0"),
            ("V1", "1.0.0"),
            ("1.2", "1.2.0"),
            ("1.0.0+a", "1.0.0+b.c"),
            ("1.0-rc.1", "1.0.0-rc.1"),
        ] {
            assert_eq!(
                ReportedVersion::new(left),
                ReportedVersion::new(right),
                "{left} {right}"
            );
        }
    }

    #[test]
    fn what_is_not_a_version_is_none() {
        for text in [
            "",
            "v",
            "a",
            "1.",
            ".1",
            "1.2.3.4",
            "1.02",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0+",
            "1.0.0-ä",
            "-1",
            " 1",
            "1.0.0 ",
            "99999999999999999999",
            "vv1",
        ] {
            assert!(ReportedVersion::new(text).is_none(), "{text:?}");
        }
    }
}
