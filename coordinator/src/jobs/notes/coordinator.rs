//! What the coordinator computes alone, and what has no room in memory.

use keyloom_common::report::{Analysis, NodeRun, Note, NoteKind, words};

/// It is no matter what a job computes in less time than this, in seconds.
const LEAST_SECONDS: f64 = 0.2;

/// From this share of the whole on, everything waits for the coordinator.
const MOST_PERCENT: f64 = 50.0;

/// The counter of bytes that went to disk.
const SPILLED_BYTES: &str = "spilled_bytes";

/// Everything waits for what the coordinator computes over the rows that it gathered.
pub(super) fn gather(analysis: &Analysis) -> Option<Note> {
    let own = || analysis.nodes.iter().enumerate().filter(|(_, node)| node.stage.is_none());
    let percent: f64 = own().map(|(_, node)| node.share_percent).sum();
    if percent < MOST_PERCENT || analysis.seconds < LEAST_SECONDS {
        return None;
    }
    let (place, node) =
        own().max_by(|(_, one), (_, other)| one.seconds.total_cmp(&other.seconds))?;
    let gathered = analysis.nodes.iter().skip(place + 1).find(|below| below.is_stage())?;
    let text = format!(
        "{}: everything waits for it; it took {} of {} on the coordinator alone, over {} gathered \
         from stage {}",
        node.name,
        words::time(node.seconds),
        words::time(analysis.seconds),
        words::plural(gathered.rows.unwrap_or_default(), "row"),
        gathered.stage.unwrap_or_default()
    );
    Some(Note { kind: NoteKind::Gather, text })
}

/// Rows of a node went to disk.
pub(super) fn spill(node: &NodeRun) -> Option<Note> {
    let spilled = node.counted(SPILLED_BYTES).filter(|bytes| *bytes > 0)?;
    let place = match node.stage {
        Some(stage) => format!("the workers of stage {stage}"),
        None => "the coordinator".to_owned(),
    };
    let text = format!(
        "{}: {} went to disk; {place} had no memory for them",
        node.name,
        words::bytes(spilled)
    );
    Some(Note { kind: NoteKind::Spill, text })
}

#[cfg(test)]
mod tests {
    use keyloom_common::report::{Metric, STAGE_NODE, Unit};

    use super::*;

    fn node(name: &str, stage: Option<u32>, seconds: f64) -> NodeRun {
        let (name, share_percent) = (name.to_owned(), seconds * 25.0);
        NodeRun { name, stage, seconds, share_percent, rows: Some(1000), ..NodeRun::default() }
    }

    /// A job of four seconds, for so many of which the coordinator sorts.
    fn sorted(seconds: f64) -> Analysis {
        let nodes = vec![
            node("ProjectionExec", None, 0.1),
            node("SortExec", None, seconds),
            node(STAGE_NODE, Some(0), 1.0),
            node("KvLookupExec", Some(0), 0.9),
        ];
        Analysis { seconds: 4.0, nodes, ..Analysis::default() }
    }

    #[test]
    fn what_the_coordinator_computes_for_most_of_the_time_is_named() {
        let note = gather(&sorted(2.1)).unwrap();
        assert_eq!(note.kind, NoteKind::Gather);
        let expected = "SortExec: everything waits for it; it took 2.10 s of 4.00 s on the \
                        coordinator alone, over 1,000 rows gathered from stage 0";
        assert_eq!(note.text, expected);
        assert_eq!(gather(&sorted(0.5)), None);
        assert_eq!(gather(&Analysis { seconds: 0.1, ..sorted(2.1) }), None);
        assert_eq!(gather(&Analysis::default()), None);
    }

    #[test]
    fn what_goes_to_disk_is_noted_with_who_had_no_memory() {
        let spilled = |stage, value| {
            let (name, unit) = (SPILLED_BYTES.to_owned(), Unit::Bytes);
            let metrics = vec![Metric { name, store: None, value, unit }];
            spill(&NodeRun { metrics, ..node("SortExec", stage, 1.0) })
        };
        let note = spilled(None, 1_200_000_000).unwrap();
        assert_eq!(note.kind, NoteKind::Spill);
        let expected = "SortExec: 1.2 GB went to disk; the coordinator had no memory for them";
        assert_eq!(note.text, expected);
        let of_workers = spilled(Some(2), 1000).map(|note| note.text);
        let expected =
            "SortExec: 1.0 kB went to disk; the workers of stage 2 had no memory for them";
        assert_eq!(of_workers.as_deref(), Some(expected));
        assert_eq!(spilled(None, 0), None);
        assert_eq!(spill(&node("SortExec", None, 1.0)), None);
    }
}
