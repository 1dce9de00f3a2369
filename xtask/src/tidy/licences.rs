//! Every package has a licence that we may ship under Apache-2.0.

use super::Workspace;
use super::policy::{LICENCE_EXCEPTIONS, LICENCES};

/// Finds packages whose licence is neither on the list nor allowed to them by name, and exceptions
/// that no package needs.
pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for package in workspace.packages() {
        let allowed = |licence: &str| {
            LICENCES.contains(&licence)
                || LICENCE_EXCEPTIONS
                    .iter()
                    .any(|(name, exception, _)| *name == package.name && *exception == licence)
        };
        if !satisfied(&package.license, &allowed) {
            findings.push(format!(
                "`{}` {} is under `{}`, which is not on the list; choose another package, or allow \
                 it with a reason in xtask/src/tidy/policy.rs and deny.toml",
                package.name, package.version, package.license
            ));
        }
    }
    for (name, licence, _) in LICENCE_EXCEPTIONS {
        if !workspace.packages().any(|package| package.name == *name) {
            findings.push(format!(
                "the exception of {licence} for `{name}` is not needed any more"
            ));
        }
    }
    findings
}

/// Whether an SPDX expression can be met by licences that are `allowed`.
///
/// `/` is read as `OR`, as packages of old write it; `X+` is met by `X`; `X WITH Y` is met only where
/// `X WITH Y` itself is allowed. An expression that cannot be read is met by nothing.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words, allowed) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut met = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed)?;
    }
    Some(met)
}

fn all(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let met = any(words, allowed)?;
        return (words.next()? == ")").then_some(met);
    }
    if words.next_if_eq(&"WITH").is_some() {
        let exception = words.next()?;
        return Some(allowed(&format!("{word} WITH {exception}")));
    }
    Some(allowed(word.trim_end_matches('+')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::example::{theirs, workspace};

    #[test]
    fn an_expression_is_met_if_some_choice_is_allowed() {
        let met = |expression| satisfied(expression, &|licence| ["MIT", "ISC"].contains(&licence));
        for expression in [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "MIT+",
            "GPL-3.0 WITH Classpath-exception-2.0 OR MIT",
        ] {
            assert!(met(expression), "{expression}");
        }
        for expression in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT OR",
            "(MIT",
            "MIT ISC",
            "MIT AND (GPL-3.0 OR Zlib)",
            "GPL-3.0 WITH Classpath-exception-2.0",
        ] {
            assert!(!met(expression), "{expression}");
        }
    }

    #[test]
    fn an_exception_holds_for_its_package_only() {
        let findings = check(&workspace(&[
            theirs("imbl", "7.0.0", "MPL-2.0+", &[]),
            theirs("other", "1.0.0", "MPL-2.0", &[]),
            theirs("imbl-sized-chunks", "1.0.0", "MPL-2.0+", &[]),
            theirs("webpki-roots", "1.0.0", "CDLA-Permissive-2.0", &[]),
            theirs(
                "target-lexicon",
                "1.0.0",
                "Apache-2.0 WITH LLVM-exception",
                &[],
            ),
        ]));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("`other` 1.0.0 is under `MPL-2.0`"),
            "{findings:?}"
        );
    }

    #[test]
    fn an_exception_that_nobody_needs_is_found() {
        assert_eq!(check(&workspace(&[])).len(), LICENCE_EXCEPTIONS.len());
    }
}
