//! From a request to a session with its inputs and stores, and to the planned statement.

use datafusion::{arrow::array::RecordBatch, dataframe::DataFrame};
use keyloom_client::{EmbeddedSettings, Input, MemoryOptions, Session, load_kv};
use keyloom_program::settings::Layers;

use crate::{
    cli::Place,
    drive,
    error::Failure,
    request::{Request, Store},
    watch::Watch,
};

/// A session in this process or on a cluster.
pub(crate) async fn session(place: &Place, watch: &Watch) -> Result<Session, Failure> {
    let mut settings = settings(place)?;
    let opened = match place.cluster.as_deref().filter(|address| !address.is_empty()) {
        Some(_) if place.workers.is_some() => {
            return Err(Failure::mistake(
                "--workers is for jobs in this process; a cluster's workers are its own",
            )
            .help("leave out --workers, or --cluster and KEYLOOM_CLUSTER"));
        }
        Some(address) => watch.step(Session::connect_with(address, settings.session)).await,
        None => {
            settings.workers = place.workers.map(Into::into).or(settings.workers);
            watch.step(Session::embedded_with(settings)).await
        }
    };
    let session = opened?;
    watch.opening(&session).await?;
    Ok(session)
}

/// Defaults, then the file, then the environment.
fn settings(place: &Place) -> Result<EmbeddedSettings, Failure> {
    let layers = Layers::defaults(&EmbeddedSettings::default()).file(place.config.as_deref());
    let read = layers.and_then(|layers| {
        let layers = layers.environment_of("worker", "KEYLOOM_WORKER_");
        layers.environment_of("coordinator", "KEYLOOM_COORDINATOR_").read()
    });
    let settings: EmbeddedSettings =
        read.map_err(|error| Failure::mistake(format!("{error:#}")))?;
    settings.validate().map_err(Failure::before)?;
    Ok(settings)
}

/// Registers inputs, attaches stores, and plans the statement.
pub(crate) async fn plan(
    session: &Session,
    request: Request,
    watch: &Watch,
) -> Result<DataFrame, Failure> {
    for (name, input) in request.inputs {
        let registered = watch.step(session.register(&name, input)).await;
        registered.map_err(|failure| failure.context(format!("table '{name}'")))?;
    }
    // The only store is meant, if none is named.
    let only = request.stores.keys().next().filter(|_| request.stores.len() == 1).cloned();
    let current = request.current_store.or(only);
    for (alias, store) in request.stores {
        attach(session, &alias, store, watch).await?;
    }
    if let Some(current) = &current {
        session.set_kv(current.as_str()).map_err(Failure::before)?;
    }
    watch.step(session.sql(&request.sql)).await
}

async fn attach(
    session: &Session,
    alias: &str,
    store: Store,
    watch: &Watch,
) -> Result<(), Failure> {
    let store = match store {
        Store::Lance(options) => load_kv(alias, options),
        Store::Other(options) => load_kv(alias, options),
        Store::Memory { input, key } => {
            let rows = rows(session, &input, watch).await;
            let rows = rows.map_err(|failure| failure.context(format!("store '{alias}'")))?;
            load_kv(alias, MemoryOptions::batches(rows, key))
        }
    };
    let store = store.map_err(Failure::before)?;
    watch.step(session.attach(store, alias)).await
}

/// The rows of files, read by workers; at least one batch.
async fn rows(
    session: &Session,
    input: &Input,
    watch: &Watch,
) -> Result<Vec<RecordBatch>, Failure> {
    let reading = async { session.submit(session.read(input.clone()).await?).await };
    let job = watch.step(reading).await?;
    let mut batches = vec![RecordBatch::new_empty(job.schema().clone())];
    let take = |batch| {
        batches.push(batch);
        Ok(())
    };
    drive::drive(job, watch, take).await?;
    Ok(batches)
}
