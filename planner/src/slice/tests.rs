//! What fragments are cut into, and frames cut by their answers.

use arrow::datatypes::Schema;
use datafusion::{
    physical_expr::expressions::lit,
    physical_plan::{
        common::collect, placeholder_row::PlaceholderRowExec, projection::ProjectionExec,
    },
};
use keyloom_common::{
    BlobId,
    output::{OutputKind, OutputSpec, PreparedOutput, WriteExec},
    plan::{FramePartition, ScanPartition, encode_plan, with_slice},
    report::PlanMetrics,
};

use super::*;
use crate::samples::{frame, lookup, scan};

const GRAIN: Grain = Grain {
    rows: 10,
    row_slices: 8,
    answer_bytes: 250,
    answer_slices: 5,
    write: WriteGrain { rows: 40, bytes: 1000, slices: 3 },
};

/// Where slices start, and how many rows they have.
fn cut(fragment: &Arc<dyn ExecutionPlan>) -> Vec<Option<(usize, Option<usize>)>> {
    let chains = chains(fragment, GRAIN).unwrap();
    let cuts = chains.iter().flat_map(|chain| &chain.cuts);
    let rows = cuts.map(|cut| match cut {
        Cut::In { rows, .. } => rows.map(|rows| (rows.start, rows.length)),
        Cut::Over(partitions) => panic!("{partitions:?} are one slice"),
    });
    rows.collect()
}

#[test]
fn partitions_that_get_columns_are_not_cut() {
    let looked_up = || lookup(frame(100), 1000);
    let tasks = |plan: &Arc<dyn ExecutionPlan>| chains(plan, GRAIN).unwrap()[0].tasks();
    let spec = OutputSpec {
        path: "/data/items.lance".to_owned(),
        storage_profile: None,
        kind: OutputKind::Columns,
    };
    let output = PreparedOutput { spec, schema: looked_up().schema(), version: Some(3) };
    let partitions = looked_up().output_partitioning().partition_count();
    assert!(tasks(&looked_up()) > partitions, "{partitions} partitions");
    let written: Arc<dyn ExecutionPlan> = Arc::new(WriteExec::new(looked_up(), Arc::new(output)));
    assert_eq!(tasks(&written), partitions);
}

#[test]
fn what_all_tasks_run_does_not_grow_with_their_number() {
    let fragment = |groups| lookup(scan(groups), 10);
    let plan = |groups| {
        let [chain] = <[Chain; 1]>::try_from(chains(&fragment(groups), GRAIN).unwrap()).unwrap();
        assert_eq!(chain.tasks() as u64, groups);
        encode_plan(&chain.plan).unwrap()
    };
    assert_eq!(plan(10_000), plan(1));
}

#[test]
fn each_task_reads_its_own_row_group() {
    let chains = chains(&lookup(scan(1000), 10), GRAIN).unwrap();
    let slices = chains[0].slices().map(|slice| match slice.unwrap() {
        Slice::Files(ScanPartition { slices, rows: None }) if slices.len() == 1 => {
            slices[0].bytes.clone()
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(slices.collect::<Vec<_>>(), (0..1000).map(|n| n..n + 1).collect::<Vec<_>>());
}

#[test]
fn a_union_has_a_chain_for_each_input() {
    let inputs = UnionExec::try_new(vec![scan(2), frame(7)]).unwrap();
    let fragment = UnionExec::try_new(vec![lookup(inputs, 0), lookup(scan(1), 0)]).unwrap();
    let chains = chains(&fragment, GRAIN).unwrap();
    let shown = |chain: &Chain| {
        let nodes = [&chain.plan, chain.plan.children()[0]].map(|node| node.name().to_owned());
        (nodes.join(" over "), chain.tasks())
    };
    let over = |leaf: &str| format!("KvLookupExec over {leaf}");
    assert_eq!(
        chains.iter().map(shown).collect::<Vec<_>>(),
        [(over("InputScanExec"), 2), (over("FrameScanExec"), 1), (over("InputScanExec"), 1)]
    );
    let places: Vec<_> = chains.iter().map(|chain| chain.places.as_slice()).collect();
    assert_eq!(places, [[1, 3], [1, 4], [5, 6]]);
    let expected = FramePartition { blob: BlobId::of(b"rows"), rows: 7 };
    let slices: Vec<_> = chains[1].slices().collect();
    assert_eq!(slices, [Ok(Slice::Frame(expected, None))]);
}

/// A projection of so many partitions of one row.
fn rows(partitions: usize) -> Arc<dyn ExecutionPlan> {
    let input = PlaceholderRowExec::new(Arc::new(Schema::empty())).with_partitions(partitions);
    let one = [(lit(1), "one".to_owned())];
    Arc::new(ProjectionExec::try_new(one, Arc::new(input)).unwrap())
}

#[tokio::test]
async fn what_the_tasks_of_a_union_count_stands_at_the_nodes_of_their_branch() {
    let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(rows(1), 5));
    let fragment = UnionExec::try_new(vec![limited, rows(3)]).unwrap();
    let mut metrics = PlanMetrics::default();
    for chain in chains(&fragment, GRAIN).unwrap() {
        for slice in chain.slices() {
            let task = with_slice(&chain.plan, slice.unwrap()).unwrap();
            collect(task.execute(0, Arc::default()).unwrap()).await.unwrap();
            metrics.merge(&PlanMetrics::of(task.as_ref()), &chain.places);
        }
    }
    let shown = metrics.render(&fragment, 0);
    let counted = shown.lines().map(|line| {
        let counted = line.split_once("output_rows=").map(|(_, counted)| counted);
        let rows = counted.and_then(|counted| counted.split([',', ']']).next());
        (line.trim_start().split([':', ',']).next().unwrap(), rows)
    });
    let expected = [
        ("UnionExec", None),
        ("LocalLimitExec", Some("1")),
        ("ProjectionExec", Some("1")),
        ("PlaceholderRowExec", None),
        ("ProjectionExec", Some("3")),
        ("PlaceholderRowExec", None),
    ];
    assert_eq!(counted.collect::<Vec<_>>(), expected, "{shown}");
}

#[test]
fn a_slice_has_so_many_rows_as_their_answers_allow() {
    let cases = [
        (0, 10, vec![None]),
        (25, 10, vec![None]),
        (50, 10, vec![Some((0, Some(25))), Some((25, None))]),
        (51, 10, vec![Some((0, Some(17))), Some((17, Some(17))), Some((34, None))]),
        // More slices than rows there are not, nor more than the setting says.
        (2, 1000, vec![Some((0, Some(1))), Some((1, None))]),
        (6, u64::MAX, vec![Some((0, Some(2))), Some((2, Some(2))), Some((4, None))]),
    ];
    for (rows, bytes, expected) in cases {
        assert_eq!(cut(&lookup(frame(rows), bytes)), expected, "{rows} rows of {bytes} bytes");
    }
}

#[test]
fn limited_rows_are_not_cut_by_their_answers() {
    let limited: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(frame(50), 2));
    assert_eq!(cut(&lookup(limited, 10)), [None]);
    let filter = FilterExec::try_new(lit(true), lookup(frame(50), 10)).unwrap();
    assert_eq!(cut(&filter.with_fetch(Some(2)).unwrap()), [None]);
}

#[test]
fn of_a_union_only_the_inputs_with_answers_are_cut() {
    let answered = lookup(lookup(frame(50), 5), 5);
    let plain = lookup(lookup(frame(50), 0), 0);
    let union = UnionExec::try_new(vec![answered, plain]).unwrap();
    assert_eq!(cut(&union), [Some((0, Some(25))), Some((25, None)), None]);
}
