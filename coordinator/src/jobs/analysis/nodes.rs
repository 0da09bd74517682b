//! The nodes of a plan with what they counted, and their parts of the time.
//!
//! The nodes of a stage run at the same time, in many tasks: what they count is summed up over
//! these, and says only how they share the time that the stage took. The coordinator's own nodes
//! run once, so that what they count is time that passed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use datafusion::physical_plan::{ExecutionPlan, displayable};
use keyloom_common::report::{
    Metric, NodeRun, PlanMetrics, STAGE_NODE, StageRun, counted_ns, parts,
};
use keyloom_planner::{Fragment, Source};

use super::Ran;
use crate::gather::{RemoteExec, StageReport};

/// The name of the counter of rows.
const OUTPUT_ROWS: &str = "output_rows";

/// The most characters that are shown of a node. Lists of values may be very long, and what is told
/// of a job is one message.
const LINE_CHARS: usize = 8192;

/// The coordinator's nodes, and below each that stands for a stage the nodes of its fragment.
pub(super) fn nodes(
    cut: &Arc<dyn ExecutionPlan>,
    stages: &[StageRun],
    reports: &BTreeMap<u32, StageReport>,
    ran: &Ran<'_>,
) -> Vec<NodeRun> {
    let mut nodes = Nodes { stages, reports, ran, nodes: Vec::new() };
    nodes.add(cut, 0);
    nodes.nodes
}

struct Nodes<'a> {
    stages: &'a [StageRun],
    reports: &'a BTreeMap<u32, StageReport>,
    ran: &'a Ran<'a>,
    nodes: Vec<NodeRun>,
}

impl Nodes<'_> {
    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>, depth: u32) {
        match plan.downcast_ref::<RemoteExec>() {
            Some(remote) => self.add_stage(remote.fragment(), depth),
            None => {
                let own = PlanMetrics::of_node(plan.as_ref());
                let metrics = own.node(0).to_vec();
                // What counts while it waits for others cannot have taken longer than the whole.
                let seconds = Duration::from_nanos(counted_ns(&metrics)).min(self.ran.took);
                let seconds = seconds.as_secs_f64();
                self.push(plan.as_ref(), depth, None, seconds, metrics);
            }
        }
        for child in plan.children() {
            self.add(child, depth + 1);
        }
    }

    fn add_stage(&mut self, fragment: &Fragment, depth: u32) {
        let number = fragment.stage;
        let stage = self.stages.iter().find(|stage| stage.stage == number).cloned();
        let stage = stage.unwrap_or_default();
        self.nodes.push(NodeRun {
            depth,
            name: STAGE_NODE.to_owned(),
            line: format!(
                "{STAGE_NODE}: stage={number}, tasks={}, workers={}, rows={}",
                stage.tasks, stage.workers, stage.rows
            ),
            stage: Some(number),
            rows: Some(stage.rows),
            seconds: stage.seconds,
            share_percent: stage.share_percent,
            metrics: Vec::new(),
        });
        let counted = self.reports.get(&number).map(|report| report.metrics.clone());
        let counted = counted.unwrap_or_default();
        let first = self.nodes.len();
        self.add_fragment(&fragment.plan, depth + 1, number, &counted, &mut 0);
        if matches!(fragment.source, Source::Shuffle) {
            self.say_where(first);
        }
        self.share(first, stage.seconds);
    }

    /// Adds the nodes of a fragment, which stand at the next places.
    fn add_fragment(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        depth: u32,
        stage: u32,
        counted: &PlanMetrics,
        place: &mut usize,
    ) {
        self.push(plan.as_ref(), depth, Some(stage), 0.0, counted.node(*place).to_vec());
        *place += 1;
        for child in plan.children() {
            self.add_fragment(child, depth + 1, stage, counted, place);
        }
    }

    /// Says of a stage's nodes, from the first on, which of them run where.
    fn say_where(&mut self, first: usize) {
        let nodes = self.nodes.get_mut(first..).unwrap_or_default();
        let lines = nodes.iter().map(|node| (node.depth as usize, node.line.as_str()));
        let said = parts::said(&lines.collect::<Vec<_>>());
        for (node, said) in nodes.iter_mut().zip(said) {
            if let Some(said) = said {
                node.line = format!("{} ({said})", node.line);
            }
        }
    }

    /// Divides the time of a stage among the nodes from the first on.
    fn share(&mut self, first: usize, seconds: f64) {
        let nodes = self.nodes.iter_mut().skip(first);
        let nodes: Vec<_> = nodes.map(|node| (counted_ns(&node.metrics), node)).collect();
        let all = nodes.iter().map(|(counted, _)| *counted).fold(0, u64::saturating_add);
        for (counted, node) in nodes {
            node.seconds = seconds * counted as f64 / all.max(1) as f64;
            node.share_percent = self.ran.share_percent(node.seconds);
        }
    }

    fn push(
        &mut self,
        plan: &dyn ExecutionPlan,
        depth: u32,
        stage: Option<u32>,
        seconds: f64,
        metrics: Vec<Metric>,
    ) {
        let rows = metrics.iter().find(|metric| metric.name == OUTPUT_ROWS);
        self.nodes.push(NodeRun {
            depth,
            name: plan.name().to_owned(),
            line: line(plan),
            stage,
            rows: rows.map(|metric| metric.value),
            seconds,
            share_percent: self.ran.share_percent(seconds),
            metrics,
        });
    }
}

/// What EXPLAIN shows of a node, as far as there is room for it.
fn line(plan: &dyn ExecutionPlan) -> String {
    let line = displayable(plan).one_line().to_string();
    let line = line.trim_end();
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        physical_expr::{PhysicalExpr, expressions::Column},
        physical_plan::{empty::EmptyExec, projection::ProjectionExec},
    };

    use super::*;
    use crate::samples::ids;

    #[test]
    fn lines_that_are_very_long_are_cut() {
        let shown = |name: &str| {
            let id: Arc<dyn PhysicalExpr> = Arc::new(Column::new("id", 0));
            let rows = Arc::new(EmptyExec::new(ids()));
            line(&ProjectionExec::try_new([(id, name.to_owned())], rows).unwrap())
        };
        assert_eq!(shown("key"), "ProjectionExec: expr=[id@0 as key]");
        let cut = shown(&"é".repeat(LINE_CHARS));
        assert_eq!(cut.chars().count(), LINE_CHARS + 1);
        assert!(cut.starts_with("ProjectionExec: ") && cut.ends_with("é…"), "{cut}");
    }
}
