//! How a job ran, as text.

use std::fmt::{self, Write};

use super::{Analysis, NodeRun, render_metrics, words};

impl Analysis {
    /// The plan: each node with its time, its share and what it counted.
    pub fn plan(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let indent = node.depth as usize * 2;
            // A string takes whatever is written.
            let _ = writeln!(text, "{:indent$}{node}", "");
        }
        text
    }
}

/// The time in all, the plan, and the notes.
impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "elapsed: {}", words::time(self.seconds))?;
        f.write_str(&self.plan())?;
        if !self.notes.is_empty() {
            writeln!(f, "notes:")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {}", note.text))
    }
}

impl fmt::Display for NodeRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)?;
        // Nodes that only pass rows on count no time.
        if self.seconds > 0.0 {
            let share = words::percent(self.share_percent);
            write!(f, ", elapsed={} ({share})", words::time(self.seconds).replace(' ', ""))?;
        }
        if self.is_stage() {
            return Ok(());
        }
        write!(f, ", metrics=[{}]", render_metrics(&self.metrics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Metric, Note, NoteKind, STAGE_NODE, Unit};

    fn node(depth: u32, name: &str, seconds: f64) -> NodeRun {
        let rows =
            Metric { name: "output_rows".to_owned(), store: None, value: 3, unit: Unit::Count };
        NodeRun {
            depth,
            name: name.to_owned(),
            line: format!("{name}: rows"),
            seconds,
            share_percent: seconds * 40.0,
            metrics: vec![rows],
            ..NodeRun::default()
        }
    }

    #[test]
    fn a_job_is_told_by_its_time_its_plan_and_its_notes() {
        let note = Note { kind: NoteKind::Columns, text: "a: 1 of 2 columns used".to_owned() };
        let nodes =
            vec![node(0, STAGE_NODE, 1.5), node(1, "FilterExec", 0.025), node(2, "Scan", 0.0)];
        let analysis = Analysis { seconds: 2.0, nodes, notes: vec![note], ..Analysis::default() };
        let expected = "elapsed: 2.00 s\n\
                        RemoteExec: rows, elapsed=1.50s (60%)\n\
                        \x20 FilterExec: rows, elapsed=25.0ms (1.0%), metrics=[output_rows=3]\n\
                        \x20   Scan: rows, metrics=[output_rows=3]\n\
                        notes:\n\
                        - a: 1 of 2 columns used\n";
        assert_eq!(analysis.to_string(), expected);
    }
}
