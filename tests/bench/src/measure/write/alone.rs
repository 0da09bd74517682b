//! The work without Keyloom: DataFusion scans the table, joins it by hash tables with the rows of
//! the store, and writes.

use std::{path::Path, time::Instant};

use anyhow::Result;
use datafusion::{
    common::config::TableParquetOptions, dataframe::DataFrameWriteOptions, prelude::SessionContext,
};

use super::{COLD, WARM, files::Files, text};
use crate::measure::{Bench, Measurement, alone};

/// As workers compress by default.
const COMPRESSION: &str = "snappy";

/// `cold` begins before there is a session, and reads the stores, too. `cold-synced` and
/// `warm-synced` end when what is written is on the disk, for which workers wait.
pub(super) async fn measure(bench: &Bench, to: &Path) -> Result<Measurement> {
    let requests = bench.data.several(&bench.workload, 1)?;
    let mut measured = Measurement::default();

    let clock = Instant::now();
    let session = alone::open(bench, &requests).await?;
    measured.add_seconds("attach", clock.elapsed().as_secs_f64());
    write(bench, &session, &to.join(COLD)).await?;
    measured.add_seconds("cold", clock.elapsed().as_secs_f64());
    Files::of(&to.join(COLD))?.sync()?;
    measured.add_seconds("cold-synced", clock.elapsed().as_secs_f64());

    let clock = Instant::now();
    write(bench, &session, &to.join(WARM)).await?;
    measured.add_seconds("warm", clock.elapsed().as_secs_f64());
    Files::of(&to.join(WARM))?.sync()?;
    measured.add_seconds("warm-synced", clock.elapsed().as_secs_f64());
    measured.add_own_peak()?;
    Ok(measured)
}

async fn write(bench: &Bench, session: &SessionContext, to: &Path) -> Result<()> {
    let mut parquet = TableParquetOptions::default();
    parquet.global.compression = Some(COMPRESSION.to_owned());
    let query = session.sql(&bench.workload.joins_sql()).await?;
    let options = DataFrameWriteOptions::new().with_single_file_output(false);
    query.write_parquet(&format!("{}/", text(to)?), options, Some(parquet)).await?;
    Ok(())
}
