//! The table, and its place in the page.

use std::fmt::Write as _;

use crate::ours::{BY_HANDLE, BY_KEY};
use crate::peers;
use crate::workload::Workload;

/// The heading of the section that the table is in.
const HEADING: &str = "## Flag evaluation";

/// How an evaluator did with a workload.
#[derive(Debug)]
pub struct Figure {
    /// Whose it is.
    pub engine: &'static str,
    /// What was asked.
    pub workload: Workload,
    /// Nanoseconds, the median of the turns.
    pub ns: f64,
    /// Allocations.
    pub allocations: f64,
}

/// The table: a line for each workload, our figures and budgets first.
pub fn of(figures: &[Figure]) -> String {
    let find = |engine: &str, workload| {
        figures.iter().find(|it| it.engine == engine && it.workload == workload)
    };
    let mut text = String::from("| ns | by key (budget) | by handle (budget) |");
    for (name, _) in peers::ALL {
        let _ = write!(text, " {name} |");
    }
    text.push_str(" nearest peer by our key | met |\n|---|---|---|");
    text.push_str(&"---|".repeat(peers::ALL.len() + 2));
    text.push('\n');
    for workload in Workload::ALL {
        let Some(ours) = find(BY_KEY, workload) else {
            continue;
        };
        let handle = find(BY_HANDLE, workload);
        let (budget, handle_budget) = workload.budget();
        let mut met = ours.ns <= budget;
        let _ = write!(text, "| {} | {} ({budget}) |", workload.title(), cell(ours));
        match handle.zip(handle_budget) {
            Some((it, budget)) => {
                met &= it.ns <= budget && it.allocations == 0.0 && ours.allocations == 0.0;
                let _ = write!(text, " {} ({budget}) |", cell(it));
            }
            None => text.push_str(" |"),
        }
        let mut nearest = f64::INFINITY;
        for (name, _) in peers::ALL {
            match find(name, workload) {
                Some(peer) => {
                    let ratio = peer.ns / ours.ns;
                    nearest = nearest.min(ratio);
                    let _ = write!(text, " {}, {ratio:.1} × |", cell(peer));
                }
                None => text.push_str(" |"),
            }
        }
        if workload != Workload::Context {
            met &= nearest >= 3.0;
        }
        let met = if met { "yes" } else { "**no**" };
        if nearest.is_finite() {
            let _ = writeln!(text, " {nearest:.1} × | {met} |");
        } else {
            let _ = writeln!(text, " | {met} |");
        }
    }
    text
}

fn cell(figure: &Figure) -> String {
    let ns = match figure.ns {
        ns if ns < 100.0 => format!("{ns:.1}"),
        ns => format!("{ns:.0}"),
    };
    match figure.allocations {
        0.0 => ns,
        some => format!("{ns} [{some:.0}]"),
    }
}

/// The page with a new table in its section; what people wrote below the table stays.
pub fn put(page: &str, table: &str) -> String {
    let about = "By `cargo xtask bench flags`: the same rules and the same context in every evaluator, in process, in turns within one run.\n\
        The context is built before, except where building it is what is measured; the flag is found by its key, or by a handle that was\n\
        found before. In brackets: allocations, where there are any; × is how many times as long as ours by key.\n";
    let section = format!("{HEADING}\n\n{about}\n{table}");
    let Some(start) = page.find(HEADING) else {
        return format!("{}\n\n{section}", page.trim_end());
    };
    let before = &page[..start];
    let old = &page[start..];
    format!("{before}{section}{}", &old[table_end(old)..])
}

/// Where the first table of a text ends.
fn table_end(text: &str) -> usize {
    let mut at = 0;
    let mut in_table = false;
    for line in text.split_inclusive('\n') {
        let is_row = line.starts_with('|');
        if in_table && !is_row {
            return at;
        }
        in_table = is_row;
        at += line.len();
    }
    at
}
