//! Versions and ranges: strict semver, and Cargo's grammar for ranges.

use plane_model::{Code, Violation};
use semver::{BuildMetadata, Version, VersionReq};

/// Reads a strict semver version.
///
/// # Errors
/// [`Code::VersionInvalid`] at the root, with the version that was probably meant.
pub fn parse_version(text: &str) -> Result<Version, Violation> {
    text.parse().map_err(|error| {
        let violation = Violation::new(
            Code::VersionInvalid,
            "",
            format!("`{}` is not a version: {error}", clip(text)),
        );
        match meant_version(text) {
            Some(version) => violation.next(format!("write `{version}`")),
            None => violation.next("write MAJOR.MINOR.PATCH, such as `1.2.0`"),
        }
    })
}

/// Returns the version that `text` nearly is: without a `v`, or with the numbers it lacks.
fn meant_version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches(['v', 'V', '=']).trim();
    ["", ".0", ".0.0"]
        .into_iter()
        .find_map(|tail| format!("{text}{tail}").parse().ok())
}

/// Reads a range in Cargo's grammar: `^ ~ = > >= < <= *`, with commas for "and".
///
/// A bare version means `^`. A prerelease matches only if the range names one of its release.
///
/// # Errors
/// [`Code::VersionInvalid`] at the root; forms that only npm knows are refused with a hint.
pub fn parse_requirement(text: &str) -> Result<VersionReq, Violation> {
    let refused = |detail: &str, next: &str| {
        let detail = format!("`{}` is not a range: {detail}", clip(text));
        Err(Violation::new(Code::VersionInvalid, "", detail).next(next))
    };
    if text.contains("||") {
        return refused(
            "`||` is npm's; a range here is one interval",
            "write one range such as `>=1.2, <3`, or list the tool once per range under \
             different names with `as`",
        );
    }
    if text.contains(" - ") {
        return refused(
            "`a - b` is npm's",
            "write the interval as `>=a, <=b`, such as `>=1.2.0, <=1.9.0`",
        );
    }
    if text.trim() == "latest" {
        return refused("there is no tag `latest`", "write `*` for any version");
    }
    text.parse().or_else(|error: semver::Error| {
        let has_spaces_for_and = !text.contains(',') && text.split_ascii_whitespace().count() > 1;
        if has_spaces_for_and {
            return refused(
                "comparators are separated by commas",
                "write a comma between them, such as `>=1.2, <2`",
            );
        }
        refused(
            &error.to_string(),
            "write a range such as `^1.2`, `~1.2.3`, `>=1, <3` or `*`",
        )
    })
}

/// Returns whether two versions differ at most in build metadata.
///
/// Two such versions have the same precedence, so only one of them may be published.
pub fn is_same_release(a: &Version, b: &Version) -> bool {
    a.cmp_precedence(b).is_eq()
}

/// Refuses `version` beside a published one that differs from it only in build metadata.
///
/// # Errors
/// [`Code::VersionExists`] at the root, naming the published version.
pub fn check_release_is_new<'v>(
    version: &Version,
    published: impl IntoIterator<Item = &'v Version>,
) -> Result<(), Violation> {
    let clash = published
        .into_iter()
        .find(|other| *other != version && is_same_release(other, version));
    let Some(clash) = clash else {
        return Ok(());
    };
    let mut next = Version {
        build: BuildMetadata::EMPTY,
        ..version.clone()
    };
    next.pre = semver::Prerelease::EMPTY;
    next.patch = next.patch.saturating_add(1);
    Err(Violation::new(
        Code::VersionExists,
        "",
        format!("`{version}` differs from the published `{clash}` only in build metadata"),
    )
    .next(format!("choose a new version, such as `{next}`")))
}

/// Shortens what a message quotes.
pub(crate) fn clip(text: &str) -> String {
    const QUOTED_CHARACTERS_MAX: usize = 60;
    let mut clipped: String = text.chars().take(QUOTED_CHARACTERS_MAX).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check_version(text: &str, expected: &Expect) {
        expected.assert_eq(&parse_version(text).unwrap_err().to_string());
    }

    fn check_requirement(text: &str, expected: &Expect) {
        expected.assert_eq(&parse_requirement(text).unwrap_err().to_string());
    }

    #[test]
    fn a_version_that_is_nearly_one_is_refused_with_the_right_one() {
        check_version(
            "v1.2.3",
            &expect![
                "`v1.2.3` is not a version: unexpected character 'v' while parsing major version number [VERSION_INVALID]; write `1.2.3`"
            ],
        );
        check_version(
            "1.2",
            &expect![
                "`1.2` is not a version: unexpected end of input while parsing minor version number [VERSION_INVALID]; write `1.2.0`"
            ],
        );
        check_version(
            "01.2.3",
            &expect![
                "`01.2.3` is not a version: invalid leading zero in major version number [VERSION_INVALID]; write MAJOR.MINOR.PATCH, such as `1.2.0`"
            ],
        );
        check_version(
            "latest",
            &expect![
                "`latest` is not a version: unexpected character 'l' while parsing major version number [VERSION_INVALID]; write MAJOR.MINOR.PATCH, such as `1.2.0`"
            ],
        );
        check_version(
            "",
            &expect![
                "`` is not a version: empty string, expected a semver version [VERSION_INVALID]; write MAJOR.MINOR.PATCH, such as `1.2.0`"
            ],
        );
        check_version(
            "99999999999999999999.0.0",
            &expect![
                "`99999999999999999999.0.0` is not a version: value of major version number exceeds u64::MAX [VERSION_INVALID]; write MAJOR.MINOR.PATCH, such as `1.2.0`"
            ],
        );
    }

    #[test]
    fn ranges_that_only_npm_knows_are_refused_with_a_hint() {
        check_requirement(
            "^1 || ^2",
            &expect![
                "`^1 || ^2` is not a range: `||` is npm's; a range here is one interval [VERSION_INVALID]; write one range such as `>=1.2, <3`, or list the tool once per range under different names with `as`"
            ],
        );
        check_requirement(
            "1.0.0 - 2.0.0",
            &expect![
                "`1.0.0 - 2.0.0` is not a range: `a - b` is npm's [VERSION_INVALID]; write the interval as `>=a, <=b`, such as `>=1.2.0, <=1.9.0`"
            ],
        );
        check_requirement(
            ">=1 <2",
            &expect![
                "`>=1 <2` is not a range: comparators are separated by commas [VERSION_INVALID]; write a comma between them, such as `>=1.2, <2`"
            ],
        );
        check_requirement(
            "latest",
            &expect![
                "`latest` is not a range: there is no tag `latest` [VERSION_INVALID]; write `*` for any version"
            ],
        );
        check_requirement(
            "one",
            &expect![
                "`one` is not a range: unexpected character 'o' while parsing major version number [VERSION_INVALID]; write a range such as `^1.2`, `~1.2.3`, `>=1, <3` or `*`"
            ],
        );
        check_requirement(
            "",
            &expect![
                "`` is not a range: unexpected end of input while parsing major version number [VERSION_INVALID]; write a range such as `^1.2`, `~1.2.3`, `>=1, <3` or `*`"
            ],
        );
    }

    #[test]
    fn a_range_matches_as_cargo_says() {
        for (range, version, matches) in [
            ("1.2", "1.9.0", true),
            ("1.2", "2.0.0", false),
            ("^0.2.3", "0.2.9", true),
            ("^0.2.3", "0.3.0", false),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            ("=1.2.3", "1.2.3+build", true),
            (">=1, <3", "2.9.9", true),
            ("*", "9.9.9", true),
            ("*", "1.0.0-rc.1", false),
            ("^1.0.0-rc.1", "1.0.0-rc.2", true),
            ("^1.0.0-rc.1", "1.1.0-rc.1", false),
        ] {
            let range_read = parse_requirement(range).unwrap();
            assert_eq!(
                range_read.matches(&version.parse().unwrap()),
                matches,
                "{range} {version}"
            );
        }
    }

    #[test]
    fn versions_that_differ_only_in_build_metadata_exclude_each_other() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let published = [version("1.0.0+a"), version("1.1.0")];
        let error = check_release_is_new(&version("1.0.0+b"), &published).unwrap_err();
        expect!["`1.0.0+b` differs from the published `1.0.0+a` only in build metadata [VERSION_EXISTS]; choose a new version, such as `1.0.1`"].assert_eq(&error.to_string());
        assert!(check_release_is_new(&version("1.0.0+a"), &published).is_ok());
        assert!(check_release_is_new(&version("1.0.0-rc.1"), &published).is_ok());
        assert!(check_release_is_new(&version("1.0.1"), &published).is_ok());
    }
}
