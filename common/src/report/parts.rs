//! Which part of a plan runs where, if workers shuffle its rows: said at the lines of the plan at
//! which rows are sent or gathered, and at those with which a part begins.

/// How the line of a node begins that sends rows by their hash.
const SENT: &str = "RepartitionExec: partitioning=Hash(";

/// How those begin that bring partitions together.
const MERGES: [&str; 2] = ["CoalescePartitionsExec", "SortPreservingMergeExec"];

const GATHERED: &str = "gathered by the worker that leads the shuffle";
const ARRIVE: &str = "computed where rows arrive";
const READ: &str = "computed where rows are read";

/// A line of a plan, and how many nodes are above it.
pub type Line<'a> = (usize, &'a str);

/// What is said at each line of a plan; nothing where no rows are shuffled.
pub fn said(lines: &[Line<'_>]) -> Vec<Option<String>> {
    let mut said: Vec<Option<String>> = vec![None; lines.len()];
    for at in (0..lines.len()).filter(|at| is_sent(lines, *at)) {
        let Some(partitions) = partitions(lines[at].1) else { continue };
        said[at] = Some(format!("sent by this hash, to {partitions} partitions on each worker"));
        say_below(lines, at, &mut said);
        if above(lines, at).any(|above| is_sent(lines, above)) {
            continue;
        }
        let merge =
            above(lines, at).find(|above| MERGES.iter().any(|m| lines[*above].1.starts_with(m)));
        if let Some(merge) = merge {
            said[merge] = Some(GATHERED.to_owned());
            say_below(lines, merge, &mut said);
        }
    }
    said
}

/// The text of a plan, each line behind two spaces for each node above it, with what is said.
pub fn text(plan: &str) -> String {
    let line = |line| {
        let shown = str::trim_start(line);
        ((line.len() - shown.len()) / 2, shown.trim_end())
    };
    let lines: Vec<Line<'_>> = plan.lines().map(line).collect();
    let said = said(&lines);
    if said.iter().all(Option::is_none) {
        return plan.to_owned();
    }
    let lines = plan.lines().zip(said).map(|(line, said)| match said {
        Some(said) => format!("{} ({said})\n", line.trim_end()),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Says of the nodes right below one where they are computed.
fn say_below(lines: &[Line<'_>], at: usize, said: &mut [Option<String>]) {
    for child in below(lines, at).filter(|below| lines[*below].0 == lines[at].0 + 1) {
        if !is_sent(lines, child) {
            let arrives = below(lines, child).any(|below| is_sent(lines, below));
            said[child] = Some(if arrives { ARRIVE } else { READ }.to_owned());
        }
    }
}

fn is_sent(lines: &[Line<'_>], at: usize) -> bool {
    lines[at].1.starts_with(SENT)
}

/// Into how many partitions a line says that rows are sent.
fn partitions(line: &str) -> Option<usize> {
    let (hash, _) = line.strip_prefix(SENT)?.split_once("), input_partitions=")?;
    hash.rsplit_once(", ")?.1.parse().ok()
}

/// The lines of nodes above a node, the nearest first.
fn above<'a>(lines: &'a [Line<'a>], at: usize) -> impl Iterator<Item = usize> + 'a {
    let mut depth = lines[at].0;
    (0..at).rev().filter(move |above| {
        let is_above = lines[*above].0 < depth;
        if is_above {
            depth = lines[*above].0;
        }
        is_above
    })
}

/// The lines of nodes below a node.
fn below<'a>(lines: &'a [Line<'a>], at: usize) -> impl Iterator<Item = usize> + 'a {
    let depth = lines[at].0;
    (at + 1..lines.len()).take_while(move |below| lines[*below].0 > depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_which_part_runs_where() {
        let plan = "\
ProjectionExec: expr=[n@0]
  SortPreservingMergeExec: [n@0 ASC]
    SortExec: expr=[n@0 ASC]
      HashJoinExec: mode=Partitioned
        RepartitionExec: partitioning=Hash([a@0, b@1], 4), input_partitions=1
          ProjectionExec: expr=[a@0]
            AggregateExec: mode=FinalPartitioned
              RepartitionExec: partitioning=Hash([a@0], 4), input_partitions=1
                FrameScanExec: partitions=1
        CoalescePartitionsExec
          FrameScanExec: partitions=2
";
        let expected = "\
ProjectionExec: expr=[n@0]
  SortPreservingMergeExec: [n@0 ASC] (gathered by the worker that leads the shuffle)
    SortExec: expr=[n@0 ASC] (computed where rows arrive)
      HashJoinExec: mode=Partitioned
        RepartitionExec: partitioning=Hash([a@0, b@1], 4), input_partitions=1 (sent by this hash, \
to 4 partitions on each worker)
          ProjectionExec: expr=[a@0] (computed where rows arrive)
            AggregateExec: mode=FinalPartitioned
              RepartitionExec: partitioning=Hash([a@0], 4), input_partitions=1 (sent by this \
hash, to 4 partitions on each worker)
                FrameScanExec: partitions=1 (computed where rows are read)
        CoalescePartitionsExec
          FrameScanExec: partitions=2
";
        assert_eq!(text(plan), expected);
    }

    #[test]
    fn a_plan_that_sends_no_rows_says_nothing() {
        for plan in [
            "",
            "CoalescePartitionsExec\n  FrameScanExec: partitions=2\n",
            "RepartitionExec: partitioning=RoundRobinBatch(4), input_partitions=1\n  EmptyExec\n",
            "RepartitionExec: partitioning=Hash(\n",
        ] {
            assert_eq!(text(plan), plan);
        }
    }
}
