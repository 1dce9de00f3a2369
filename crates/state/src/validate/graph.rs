//! Documents that need others of their kind: no circles, no chains that are too long, and no more
//! ways through them than one evaluation may take.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use plane_model::{Code, Violation, limits};

/// What each needs, as often as it asks for it.
pub(super) type Needs<N> = BTreeMap<N, Vec<N>>;

/// Refuses a way from `start` back to itself, a chain through it that is longer than `depth_max`, and more
/// questions than [`limits::REFERENCES_ASKED_MAX`] for it or for what needs it.
pub(super) fn check<N: Ord + Clone + Display>(
    needs: &Needs<N>,
    start: &N,
    depth_max: usize,
    pointer: String,
) -> Option<Violation> {
    if let Some(way) = circle(needs, start) {
        let way: Vec<_> = way.iter().map(|it| format!("`{it}`")).collect();
        let detail = format!("they refer to each other in a circle: {}", way.join(" → "));
        return Some(
            Violation::new(Code::ReferenceCycle, pointer, detail)
                .next("leave one of these references out"),
        );
    }
    let mut users = Needs::new();
    for (user, needed) in needs {
        for needed in needed {
            users
                .entry(needed.clone())
                .or_insert_with(Vec::new)
                .push(user.clone());
        }
    }
    let depth = longest(needs, start, depth_max) + longest(&users, start, depth_max);
    if depth > depth_max {
        let detail =
            format!("the chain of references through `{start}` is longer than {depth_max}");
        return Some(
            Violation::new(Code::LimitExceeded, pointer, detail)
                .next(format!("keep it to {depth_max}, one below another")),
        );
    }
    let mut asked = Asked {
        needs,
        known: BTreeMap::new(),
    };
    let mut level = BTreeSet::from([start]);
    while !level.is_empty() {
        for name in &level {
            let count = asked.of(name, depth_max);
            if count > limits::REFERENCES_ASKED_MAX {
                let detail = format!(
                    "to know `{name}` others would be asked up to {count} times, more than {}: each as \
                     often as it is named, by all that name it",
                    limits::REFERENCES_ASKED_MAX
                );
                return Some(
                    Violation::new(Code::LimitExceeded, pointer, detail)
                        .next("name fewer, or what many are made of only once"),
                );
            }
        }
        // No chain through `start` is longer than the limit, so this ends.
        let above = level.into_iter();
        level = above
            .flat_map(|it| users.get(it).into_iter().flatten())
            .collect();
    }
    None
}

/// How many questions each takes, as far as that is known.
struct Asked<'n, N> {
    needs: &'n Needs<N>,
    known: BTreeMap<&'n N, usize>,
}

impl<N: Ord> Asked<'_, N> {
    /// How many others are asked in the worst case; those deeper than `depth` are refused for that.
    fn of(&mut self, name: &N, depth: usize) -> usize {
        let Some((name, needed)) = self.needs.get_key_value(name) else {
            return 0;
        };
        if let Some(count) = self.known.get(name) {
            return *count;
        }
        let Some(below) = depth.checked_sub(1) else {
            return 0;
        };
        let count = needed.iter().fold(0_usize, |count, it| {
            count.saturating_add(1).saturating_add(self.of(it, below))
        });
        self.known.insert(name, count);
        count
    }
}

/// A way from a name back to itself.
fn circle<N: Ord + Clone>(needs: &Needs<N>, start: &N) -> Option<Vec<N>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start.clone()]];
    while let Some(way) = ways.pop() {
        let Some(last) = way.last() else { continue };
        for next in needs.get(last).into_iter().flatten() {
            let longer = || way.iter().cloned().chain([next.clone()]).collect();
            if next == start {
                return Some(longer());
            }
            if seen.insert(next.clone()) {
                ways.push(longer());
            }
        }
    }
    None
}

/// How many steps the longest way from `start` has, counted no further than over the limit.
fn longest<N: Ord>(edges: &Needs<N>, start: &N, depth_max: usize) -> usize {
    let mut level = BTreeSet::from([start]);
    for depth in 0..=depth_max {
        level = level
            .into_iter()
            .flat_map(|it| edges.get(it).into_iter().flatten())
            .collect();
        if level.is_empty() {
            return depth;
        }
    }
    depth_max + 1
}
