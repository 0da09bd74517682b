//! Raw calls.

use anyhow::Result;

use super::{Bench, Measurement};
use crate::raw::{self, Strategies};

/// Finds out how values are read best.
pub(super) async fn choose(bench: &Bench) -> Result<Measurement> {
    let requests = bench.data.read_requests(&bench.workload)?;
    let strategies = raw::choose(&bench.workload, &requests, &bench.storage).await?;
    Ok(Measurement { strategies: Some(strategies), ..Measurement::default() })
}

/// `cold` is everything; `warm` has the addresses and the datasets; `fetch` reads the values alone.
pub(super) async fn measure(bench: &Bench, strategies: &Strategies) -> Result<Measurement> {
    let requests = bench.data.read_requests(&bench.workload)?;
    let (result, phases) = raw::run(&bench.workload, &requests, &bench.storage, strategies).await?;
    let mut measured = Measurement::default();
    measured.add_own_peak()?;
    let warm = phases.fetch + phases.gather;
    for (name, seconds) in [
        ("open", phases.open),
        ("keys", phases.keys),
        ("fetch", phases.fetch),
        ("gather", phases.gather),
        ("warm", warm),
        ("cold", phases.open + phases.keys + warm),
    ] {
        measured.add_seconds(name, seconds);
    }
    measured.add_result(&result, bench.digest)?;
    Ok(measured)
}
