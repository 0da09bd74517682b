//! What a batch of keys saves: in lookups through an open store, and in jobs of a session.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use arrow::{array::ArrayRef, util::display::array_value_to_string};
use async_trait::async_trait;
use bytes::Bytes;
use keyloom_client::Session;
use keyloom_common::{
    BlobId, Error,
    store::{Access, LANCE, ResolvedStore, StoreKey, StoreSpec},
};
use keyloom_worker::store::{BlobSource, OpenStores, Request, Store, StoreEnv, StoreSettings};

use super::{Bench, Measurement};
use crate::data::stores::KEY;

/// Lance stores have no contents elsewhere.
#[derive(Debug)]
struct NoBlobs;

#[async_trait]
impl BlobSource for NoBlobs {
    async fn blob(&self, id: BlobId) -> Result<Bytes, Error> {
        Err(Error::not_found(format!("no blob {id}")))
    }
}

/// `batch` is one lookup of all keys, `singles` one lookup a key, one after the other; `job` and
/// `jobs` are the same through a session. All have a warm store.
pub(super) async fn measure(bench: &Bench) -> Result<Measurement> {
    let call = bench.workload.calls.first().context("the workload has no call")?;
    let requests = bench.data.read_requests(&bench.workload)?;
    let keys = requests.column_by_name(call.key).context("the workload has no keys")?;
    let (store, columns) = open(&bench.storage.uri(call.store)?, call.columns).await?;
    let lookup = async |keys: ArrayRef| {
        let request = Request {
            keys,
            columns: columns.clone(),
            access: Access::default(),
            rows: Default::default(),
        };
        store.lookup(request).await
    };
    lookup(Arc::clone(keys)).await?;

    let mut measured = Measurement::default();
    let clock = Instant::now();
    lookup(Arc::clone(keys)).await?;
    measured.add_seconds("batch", clock.elapsed().as_secs_f64());
    let clock = Instant::now();
    for key in 0..keys.len() {
        lookup(keys.slice(key, 1)).await?;
    }
    measured.add_seconds("singles", clock.elapsed().as_secs_f64());
    jobs(bench, keys, &mut measured).await?;
    measured.add_own_peak()?;
    Ok(measured)
}

async fn jobs(bench: &Bench, keys: &ArrayRef, measured: &mut Measurement) -> Result<()> {
    let session = Session::embedded_with(bench.storage.settings()).await?;
    session.register_batches("requests", &[bench.data.read_requests(&bench.workload)?])?;
    for store in bench.workload.stores() {
        session.attach(bench.storage.kv_store(store)?, store).await?;
    }
    let all = bench.workload.sql();
    let run = async |sql: &str| -> Result<()> {
        session.submit(session.sql(sql).await?).await?.collect().await?;
        Ok(())
    };
    run(&all).await?;

    let clock = Instant::now();
    run(&all).await?;
    measured.add_seconds("job", clock.elapsed().as_secs_f64());
    let clock = Instant::now();
    for key in 0..keys.len() {
        let key = array_value_to_string(keys, key)?;
        run(&format!("{all} WHERE {KEY} = '{key}'")).await?;
    }
    measured.add_seconds("jobs", clock.elapsed().as_secs_f64());
    Ok(())
}

async fn open(uri: &str, columns: &[&str]) -> Result<(Arc<dyn Store>, Vec<usize>)> {
    let key = Some(StoreKey::column(KEY));
    let spec = StoreSpec { key, ..StoreSpec::new("store", LANCE, uri) };
    let stores = OpenStores::new(StoreEnv::new(StoreSettings::default(), Arc::new(NoBlobs)));
    let description = stores.describe(&spec).await?;
    let columns = columns.iter().map(|column| description.schema.index_of(column));
    let columns = columns.collect::<Result<_, _>>()?;
    let store = ResolvedStore::try_new("store", spec, description)?;
    Ok((stores.get(&store).await?, columns))
}
