//! Documents that need others of their kind: no circles, and no chains that are too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use plane_model::{Code, Violation};

/// What each needs.
pub(super) type Needs<N> = BTreeMap<N, Vec<N>>;

/// Refuses a way from `start` back to itself, and a chain through it that is longer than `depth_max`.
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
    (depth > depth_max).then(|| {
        Violation::new(
            Code::LimitExceeded,
            pointer,
            format!("the chain of references through `{start}` is longer than {depth_max}"),
        )
        .next(format!("keep it to {depth_max}, one below another"))
    })
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
