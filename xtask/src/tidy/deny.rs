//! `deny.toml` says the same as [`super::policy`], for those who have cargo-deny.

use std::collections::BTreeSet;

use super::policy::{DUPLICATES, LICENCE_EXCEPTIONS, LICENCES};

/// Finds licences, exceptions and skips that are in one of the two places only.
pub(super) fn check(deny: &str) -> Vec<String> {
    let licences = LICENCES.iter().map(|&licence| licence.to_owned()).collect();
    let exceptions = LICENCE_EXCEPTIONS
        .iter()
        .map(|(name, licence, _)| format!("{name} {licence}"))
        .collect();
    let skips = DUPLICATES
        .iter()
        .map(|(name, series, _)| format!("{name}@{series}"))
        .collect();

    let allow = strings(array(deny, "allow"));
    let denied_exceptions = entries(array(deny, "exceptions"))
        .map(|entry| {
            strings(entry)
                .into_iter()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let denied_skips = entries(array(deny, "skip"))
        .filter_map(|entry| strings(entry).into_iter().next())
        .collect();
    [
        ("licence", licences, allow.into_iter().collect()),
        ("exception", exceptions, denied_exceptions),
        ("skip", skips, denied_skips),
    ]
    .into_iter()
    .flat_map(
        |(what, ours, theirs): (_, BTreeSet<String>, BTreeSet<String>)| {
            let missing = ours.difference(&theirs).map(move |name| {
                format!("the {what} `{name}` of xtask/src/tidy/policy.rs is not in deny.toml")
            });
            let unknown = theirs.difference(&ours).map(move |name| {
                format!("the {what} `{name}` of deny.toml is not in xtask/src/tidy/policy.rs")
            });
            missing.chain(unknown).collect::<Vec<_>>()
        },
    )
    .collect()
}

/// The text between the brackets of the array `name`, which stands at the start of a line and ends
/// with a bracket at the start of a line.
fn array<'a>(deny: &'a str, name: &str) -> &'a str {
    let opening = format!("\n{name} = [\n");
    let Some((_, rest)) = deny.split_once(&opening) else {
        return "";
    };
    rest.split_once("\n]").map_or("", |(inside, _)| inside)
}

fn entries(array: &str) -> impl Iterator<Item = &str> {
    array
        .lines()
        .filter(|line| line.trim_start().starts_with('{'))
}

fn strings(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed() -> String {
        use std::fmt::Write as _;

        let mut deny = String::from("[licenses]\nallow = [\n");
        for licence in LICENCES {
            let _ = writeln!(deny, "  \"{licence}\",");
        }
        deny.push_str("]\nexceptions = [\n");
        for (name, licence, reason) in LICENCE_EXCEPTIONS {
            let _ = writeln!(
                deny,
                "  {{ crate = \"{name}\", allow = [\"{licence}\"] }}, # {reason}"
            );
        }
        deny.push_str("]\n[bans]\nskip = [\n");
        for (name, series, reason) in DUPLICATES {
            let _ = writeln!(
                deny,
                "  {{ crate = \"{name}@{series}\", reason = \"{reason}\" }},"
            );
        }
        deny.push_str("]\n");
        deny
    }

    #[test]
    fn two_places_that_agree_pass() {
        assert_eq!(check(&agreed()), Vec::<String>::new());
    }

    #[test]
    fn what_is_in_one_place_only_is_found() {
        let more = agreed().replace("allow = [\n", "allow = [\n  \"GPL-3.0\",\n");
        assert_eq!(
            check(&more),
            ["the licence `GPL-3.0` of deny.toml is not in xtask/src/tidy/policy.rs"]
        );
        let less = agreed().replace("\"ISC\"", "");
        assert_eq!(
            check(&less),
            ["the licence `ISC` of xtask/src/tidy/policy.rs is not in deny.toml"]
        );
        let other = agreed().replace("rand_core@0.9", "rand_core@0.8");
        assert_eq!(check(&other).len(), 2);
        let other = agreed().replace("crate = \"imbl\"", "crate = \"ring\"");
        assert_eq!(check(&other).len(), 2);
    }
}
