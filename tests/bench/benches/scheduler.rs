//! The scheduler's own work with many workers and tasks: what it is told, and what it decides.

use criterion::{BenchmarkId, Criterion, Throughput};
use keyloom_coordinator::micro::Cluster;

const WORKERS: u32 = 1_000;
const SLOTS: u32 = 4;

/// The groups, and how many tasks each has.
const GROUPS: [(&str, u32); 2] =
    [("scheduler", 100_000), ("scheduler, a million tasks", 1_000_000)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, tasks) in GROUPS {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Elements(tasks.into()));
        for stages in [1, 100] {
            let mut cluster = Cluster::new(WORKERS, SLOTS);
            group.bench_function(BenchmarkId::new("stages", stages), |bencher| {
                bencher.iter(|| {
                    assert_eq!(cluster.run(stages, tasks / stages), u64::from(tasks));
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
