//! Where the nodes of a plan stand in the one that it was made of.
//!
//! What cuts a plan into stages adds nodes, takes some away, and makes the others anew. They stay in
//! their order: as many as possible are taken for the same, those that look the same first.

use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};

/// More pairs of nodes are not compared: then no place is known.
const MAX_PAIRS: usize = 1 << 22;

/// What is compared of a node.
struct Node {
    name: String,
    line: String,
}

/// For each of these nodes, in pre-order, the place that it had in a plan.
pub(super) fn places(
    nodes: &[Arc<dyn ExecutionPlan>],
    made_of: &[Arc<dyn ExecutionPlan>],
) -> Vec<Option<usize>> {
    let (own, theirs) = (compared(nodes), compared(made_of));
    match own.len().checked_mul(theirs.len()) {
        Some(pairs) if pairs <= MAX_PAIRS => common(&own, &theirs),
        _ => vec![None; own.len()],
    }
}

fn compared(nodes: &[Arc<dyn ExecutionPlan>]) -> Vec<Node> {
    let node = |node: &Arc<dyn ExecutionPlan>| Node {
        name: node.name().to_owned(),
        line: displayable(node.as_ref()).one_line().to_string(),
    };
    nodes.iter().map(node).collect()
}

/// How much two nodes are the same; none if they are not.
fn likeness(one: &Node, other: &Node) -> Option<u32> {
    (one.name == other.name).then(|| if one.line == other.line { 3 } else { 2 })
}

/// The common subsequence that is most alike.
fn common(own: &[Node], theirs: &[Node]) -> Vec<Option<usize>> {
    // For each pair of beginnings, row by row, how alike what follows them is at most.
    let width = theirs.len() + 1;
    let mut best = vec![0_u32; (own.len() + 1) * width];
    for (i, one) in own.iter().enumerate().rev() {
        for (j, other) in theirs.iter().enumerate().rev() {
            let skip = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let both = likeness(one, other).map(|alike| alike + best[(i + 1) * width + j + 1]);
            best[i * width + j] = skip.max(both.unwrap_or_default());
        }
    }
    let (mut found, mut j) = (vec![None; own.len()], 0);
    for (i, one) in own.iter().enumerate() {
        // The next one of theirs with which nothing is lost.
        let best_here = best[i * width + j];
        if best_here == best[(i + 1) * width + j] {
            continue;
        }
        let is_taken = |place: &usize| {
            likeness(one, &theirs[*place])
                .is_some_and(|alike| alike + best[(i + 1) * width + place + 1] == best_here)
        };
        if let Some(place) = (j..theirs.len()).find(is_taken) {
            found[i] = Some(place);
            j = place + 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes by what is shown of them; the name is the first word.
    fn nodes(lines: &[&str]) -> Vec<Node> {
        let node = |line: &&str| {
            let name = line.split(' ').next().unwrap_or_default();
            Node { name: name.to_owned(), line: (*line).to_owned() }
        };
        lines.iter().map(node).collect()
    }

    fn check(own: &[&str], theirs: &[&str], expected: &[Option<usize>]) {
        assert_eq!(common(&nodes(own), &nodes(theirs)), expected, "{own:?}");
    }

    #[test]
    fn nodes_that_stayed_have_their_places() {
        let plan = ["merge", "sort", "group a", "send", "group b", "look", "scan 4"];
        check(&plan, &plan, &[0, 1, 2, 3, 4, 5, 6].map(Some));
        let made = [
            "top", "merge", "net", "sort", "group a", "net", "send", "group b", "look", "leaf",
            "spread", "scan 2",
        ];
        let places = [
            None,
            Some(0),
            None,
            Some(1),
            Some(2),
            None,
            Some(3),
            Some(4),
            Some(5),
            None,
            None,
            Some(6),
        ];
        check(&made, &plan, &places);
    }

    #[test]
    fn what_was_taken_away_or_stands_twice_moves_nothing() {
        check(&["a 2", "b"], &["a 1", "a 2", "b"], &[Some(1), Some(2)]);
        check(&["a 1", "a 3", "b"], &["a 1", "b"], &[Some(0), None, Some(1)]);
        check(&["x"], &["y"], &[None]);
        check(&[], &["y"], &[]);
        check(&["y"], &[], &[None]);
    }
}
