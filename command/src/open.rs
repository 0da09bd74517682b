//! From a request to a session with its inputs and stores, and to the planned statement.

use std::collections::BTreeSet;

use datafusion::{arrow::array::RecordBatch, dataframe::DataFrame};
use keyloom_client::{
    EmbeddedSettings, Error, ErrorCode, ErrorKind, Input, MemoryOptions, Session, Settings,
    Shuffle, load_kv, with_group_keys, with_join_path, with_shuffle,
};
use keyloom_common::rpc::is_tls;
use keyloom_program::settings::Layers;

use crate::{
    cli::{CLUSTER, OnCluster, Place},
    drive,
    error::Failure,
    request::{Request, Store},
    text,
    watch::Watch,
};

/// What to do where a cluster lets nobody in whom it does not know.
const LET_IN: &str = "what whoever runs the cluster gave you is named by --token-file FILE or \
                      KEYLOOM_TOKEN, and by --ca-file, --cert-file and --key-file";

/// What to do where nothing says whose certificates are believed.
const AUTHORITY: &str = "--ca-file FILE.pem or KEYLOOM_CA_FILE names those certificates, and \
                         ca_file under [session.security] in settings";

/// Settings, or sections of them, and why nothing reads them.
type Unread = (&'static [&'static str], &'static str);

const ON_CLUSTER: [Unread; 1] = [(
    &["workers", "worker", "coordinator"],
    "on a cluster, whose coordinator and workers have settings of their own",
)];

const IN_PROCESS: [Unread; 3] = [
    (
        &["worker.keep_freed_bytes", "coordinator.keep_freed_bytes"],
        "in this process, where the allocator is left as it is",
    ),
    (
        &["worker.log", "coordinator.log"],
        "in this process, whose log is written as --log-format says",
    ),
    (
        &[
            "worker.coordinator",
            "worker.slots",
            "worker.name",
            "worker.security",
            "worker.http",
            "coordinator.listen",
            "coordinator.advertise",
            "coordinator.insecure_listen",
            "coordinator.security",
            "coordinator.http",
            "coordinator.http_jobs",
        ],
        "in this process, which is no daemon",
    ),
];

/// A session in this process or on a cluster.
pub(crate) async fn session(place: &Place, watch: &Watch) -> Result<Session, Failure> {
    let cluster = place.cluster();
    if cluster.is_some() && place.workers.is_some() {
        return Err(Failure::mistake(
            "--workers is for jobs in this process; a cluster's workers are its own",
        )
        .help("leave out --workers, or --cluster and KEYLOOM_CLUSTER"));
    }
    let settings = settings(place, cluster.is_some())?;
    let opened = match cluster {
        Some(address) => connect(address, settings.session, watch).await,
        None => watch.step(Session::embedded_with(settings)).await,
    };
    let session = opened?;
    if cluster.is_some() {
        watch.on_cluster(&session);
    }
    watch.opening(&session).await?;
    Ok(session)
}

/// A session where only a cluster will do.
pub(crate) async fn on_cluster(cluster: OnCluster, watch: &Watch) -> Result<Session, Failure> {
    let place = cluster.place();
    let Some(address) = place.cluster() else {
        return Err(no_cluster());
    };
    let (settings, _) = layered(&place)?;
    let session = connect(address, settings.session, watch).await?;
    watch.on_cluster(&session);
    Ok(session)
}

/// What is asked can be had of a cluster alone.
pub(crate) fn no_cluster() -> Failure {
    Failure::mistake(format!("no address; --cluster or {CLUSTER} says where the coordinator is"))
}

/// A session on a cluster.
pub(crate) async fn connect(
    address: &str,
    settings: Settings,
    watch: &Watch,
) -> Result<Session, Failure> {
    let lacks_authority = is_tls(address) && settings.security.ca_file.is_none();
    let mut is_denied = false;
    let connecting = async {
        let connected = Session::connect_with(address, settings).await;
        let denies = |error: &Error| error.kind() == ErrorKind::PermissionDenied;
        is_denied = connected.as_ref().is_err_and(denies);
        connected
    };
    let connected = watch.step(connecting).await;
    let session = connected.map_err(|failure| match (is_denied, lacks_authority) {
        (true, _) => failure.help(LET_IN),
        (false, true) => failure.help(AUTHORITY),
        (false, false) => failure,
    })?;
    session.tell_warnings(watch.warns());
    Ok(session)
}

/// The settings, after warnings of those that nothing reads.
fn settings(place: &Place, on_cluster: bool) -> Result<EmbeddedSettings, Failure> {
    let (settings, layers) = layered(place)?;
    if !on_cluster {
        settings.check_ports().map_err(Failure::before)?;
    }
    for warning in without_effect(&layers, on_cluster) {
        text::note(&warning);
    }
    Ok(settings)
}

/// Defaults, then the file, then the environment, then flags.
pub(crate) fn layered(place: &Place) -> Result<(EmbeddedSettings, Layers), Failure> {
    let layers = Layers::defaults(&EmbeddedSettings::default()).file(place.config.as_deref());
    let layers = layers.map_err(|error| Failure::mistake(format!("{error:#}")))?;
    let layers = layers
        .environment_of("worker", "KEYLOOM_WORKER_")
        .environment_of("coordinator", "KEYLOOM_COORDINATOR_")
        .flag("--workers", "workers", place.workers);
    let layers = place.security.over(layers)?;
    let read = layers.read::<EmbeddedSettings>();
    let settings = read.map_err(|error| Failure::mistake(format!("{error:#}")))?;
    settings.validate().map_err(Failure::before)?;
    Ok((settings, layers))
}

/// What to say of settings that are given and that nothing reads where the job runs.
fn without_effect(layers: &Layers, on_cluster: bool) -> Vec<String> {
    let unread: &[Unread] = if on_cluster { &ON_CLUSTER } else { &IN_PROCESS };
    let warnings = unread.iter().filter_map(|(settings, why)| {
        let given: Vec<_> = settings.iter().flat_map(|setting| layers.given(setting)).collect();
        let (settings, have) = match given.as_slice() {
            [] => return None,
            [_] => ("setting", "has"),
            _ => ("settings", "have"),
        };
        Some(format!("warning: {settings} {} {have} no effect {why}", given.join(", ")))
    });
    warnings.collect()
}

/// Says what a request asks for in vain where it runs.
pub(crate) fn warn(place: &Place, request: &Request) {
    if place.cluster().is_none() && request.shuffle.shuffle == Some(Shuffle::Always) {
        text::note("warning: shuffle has no effect in this process: workers of a cluster shuffle");
    }
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
    let (offered, stores) = (request.offered, request.stores);
    let is_only = |alias: &&String| stores.len() == 1 && offered.iter().all(|one| one == *alias);
    let only = stores.keys().next().filter(is_only).cloned();
    let current = request.current_store.or(only);
    for (alias, store) in stores {
        attach(session, &alias, store, watch).await?;
    }
    if let Some(current) = &current {
        // It may be one of the cluster's.
        watch.step(session.find_kv(current)).await?;
        session.set_kv(current.as_str()).map_err(Failure::before)?;
    }
    let (folder, sql, params) = (&request.folder, &request.sql, &request.params);
    let planning = async {
        match params.is_empty() {
            true => session.sql_in(folder, sql).await,
            false => session.sql_in_with(folder, sql, params).await,
        }
    };
    match watch.step(async { Ok(planning.await) }).await? {
        Ok(query) => {
            let query = match request.join_path {
                Some(path) => with_join_path(query, path),
                None => query,
            };
            let query = match request.group_keys {
                Some(group_keys) => with_group_keys(query, group_keys),
                None => query,
            };
            with_shuffle(query, request.shuffle).map_err(Failure::before)
        }
        Err(error) => {
            // If the cluster's cannot be listed, the others can.
            let of_cluster = session.cluster_catalog().await.unwrap_or_default().stores;
            let stores = session.list_kv().into_iter().chain(offered);
            let stores: BTreeSet<_> = stores.chain(of_cluster.into_keys()).collect();
            Err(unplanned(error, &Vec::from_iter(stores)))
        }
    }
}

/// Why a statement is not planned; if a store is to be named, with those that there are.
fn unplanned(error: Error, stores: &[String]) -> Failure {
    let code = error.code();
    let failure = Failure::before(error);
    match stores {
        [_, ..] if code == Some(ErrorCode::NoCurrentStore) => failure.help(format!(
            "say which store is meant, '{}': current_store in [job], --current ALIAS, or source \
             => 'ALIAS' in the call",
            stores.join("' or '")
        )),
        _ => failure,
    }
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
