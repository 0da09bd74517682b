//! The scheduler's own work with many workers and tasks: what it is told, and what it decides.

use criterion::{BenchmarkId, Criterion, Throughput};
use keyloom_coordinator::micro::Cluster;

const WORKERS: u32 = 1_000;
const SLOTS: u32 = 4;
const TASKS: u32 = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("scheduler");
    group.sample_size(10);
    group.throughput(Throughput::Elements(TASKS.into()));
    for stages in [1, 100] {
        let mut cluster = Cluster::new(WORKERS, SLOTS);
        group.bench_function(BenchmarkId::new("stages", stages), |bencher| {
            bencher.iter(|| {
                assert_eq!(cluster.run(stages, TASKS / stages), u64::from(TASKS));
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
