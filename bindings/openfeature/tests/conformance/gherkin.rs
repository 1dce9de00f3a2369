//! As much of Gherkin as the suite is written in.

/// A scenario, the outline's examples put in.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// A step without its keyword.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) text: String,
    /// The rows of its table, the heads among them.
    pub(crate) table: Vec<Vec<String>>,
}

#[derive(Default)]
struct Block {
    name: String,
    steps: Vec<Step>,
    /// The heads of the examples and a row, for each row; none for what is no outline.
    examples: Vec<(Vec<String>, Vec<String>)>,
    is_outline: bool,
}

/// Reads the scenarios of a feature, the background's steps first in each.
pub(crate) fn scenarios(text: &str) -> Vec<Scenario> {
    let mut blocks: Vec<Block> = vec![Block::default()];
    let mut heads: Option<Vec<String>> = None;
    let mut in_examples = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', '@']) || line.starts_with("Feature:") {
            continue;
        }
        let block = blocks.last_mut().expect("there is one from the start");
        if line.starts_with("Background:") {
            in_examples = false;
        } else if let Some((keyword, name)) = line
            .split_once(':')
            .filter(|(it, _)| it.starts_with("Scenario"))
        {
            let is_outline = keyword == "Scenario Outline";
            let name = name.trim().to_owned();
            blocks.push(Block {
                name,
                is_outline,
                ..Block::default()
            });
            in_examples = false;
        } else if line.starts_with("Examples:") {
            (in_examples, heads) = (true, None);
        } else if let Some(row) = line.strip_prefix('|') {
            let row: Vec<String> = row
                .trim_end_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect();
            if !in_examples {
                let step = block.steps.last_mut().expect("a table follows its step");
                step.table.push(row);
                continue;
            }
            match &heads {
                None => heads = Some(row),
                Some(heads) => block.examples.push((heads.clone(), row)),
            }
        } else if let Some((_, text)) = line
            .split_once(' ')
            .filter(|(keyword, _)| ["Given", "When", "Then", "And", "But"].contains(keyword))
        {
            block.steps.push(Step {
                text: text.to_owned(),
                table: Vec::new(),
            });
        }
    }
    let background = blocks.remove(0).steps;
    let mut scenarios = Vec::new();
    for block in blocks {
        let steps = |heads: &[String], row: &[String]| {
            let filled = block.steps.iter().map(|step| {
                let pairs = heads.iter().zip(row);
                let text = pairs.fold(step.text.clone(), |text, (head, cell)| {
                    text.replace(&format!("<{head}>"), cell)
                });
                let table = step.table.clone();
                Step { text, table }
            });
            background.iter().cloned().chain(filled).collect()
        };
        if block.is_outline {
            for (heads, row) in &block.examples {
                let name = block.name.clone();
                scenarios.push(Scenario {
                    name,
                    steps: steps(heads, row),
                });
            }
        } else {
            scenarios.push(Scenario {
                steps: steps(&[], &[]),
                name: block.name.clone(),
            });
        }
    }
    scenarios
}
