//! Clients that may use what the catalog offers them and nothing else.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::ExecutionPlan;
use keyloom_client::{Error, ErrorKind, LanceOptions, MemoryOptions, Session, Settings, load_kv};
use keyloom_common::{
    JobId,
    input::{CsvOptions, Layout, Location},
    plan::{FileSlice, InputScanExec, ScanPartition, ScanTable, encode_plan},
    rpc::{
        self, ClientApiClient, JobTerms, Limits, PeerSecurity, Submission, handshake::Service,
        in_time,
    },
};

use super::{Files, NAMES, STATEMENTS, borrowed, other, variable};
use crate::harness::{Cluster, Keys, batch, ints, rows, strings};

/// Clients with certificates of their own, and a catalog that has a store for one of them.
struct World {
    files: Files,
    keys: Keys,
    cluster: Cluster,
}

impl World {
    async fn start(only: bool) -> Result<Self> {
        let (files, keys) = (Files::write().await?, Keys::certificates()?);
        keys.certify(["--client", "alice", "--client", "bob", "--operator", "olga"])?;
        let mut variables = files.variables();
        variables.extend([
            variable("STORES__SECRET__KIND", "lance"),
            variable("STORES__SECRET__URI", files.path("secret.lance")),
            variable("STORES__SECRET__KEY", "id"),
            variable("STORES__SECRET__CLIENTS", "[\"ali*\"]"),
            variable("ONLY", only.to_string()),
        ]);
        let cluster = Cluster::start_with_keys(1, &keys, &borrowed(&variables), &[]).await?;
        Ok(Self { files, keys, cluster })
    }

    fn security(&self, client: &str) -> PeerSecurity {
        self.keys.peer(&format!("client-{client}"), "client")
    }

    async fn session(&self, security: PeerSecurity) -> Result<Session> {
        let settings = Settings { security, ..Settings::default() };
        Ok(Session::connect_with(&self.cluster.address, settings).await?)
    }

    async fn client(&self, name: &str) -> Result<Session> {
        self.session(self.security(name)).await
    }

    fn secret(&self) -> LanceOptions {
        LanceOptions::new(self.files.path("secret.lance")).key("id")
    }
}

const OF_SECRET: &str = "SELECT count(*) AS n FROM secret";

#[track_caller]
fn check_denied(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let expected =
        format!("{what} is not offered by the cluster's catalog, and catalog.only = true");
    assert!(error.message().contains(&expected), "no '{expected}' in '{error}'");
}

#[tokio::test]
async fn names_are_offered_to_those_for_whom_they_are() -> Result<()> {
    let world = World::start(false).await?;
    let (alice, bob) = (world.client("alice").await?, world.client("bob").await?);
    let stores = async |session: &Session| -> Result<Vec<String>> {
        Ok(session.cluster_catalog().await?.stores.into_keys().collect())
    };
    assert_eq!(stores(&alice).await?, ["products", "secret"]);
    assert_eq!(stores(&bob).await?, ["products"]);
    let olga = world.session(world.keys.peer("operator-olga", "operator")).await?;
    assert_eq!(stores(&olga).await?, ["products", "secret"]);
    assert_eq!(rows(alice.sql(OF_SECRET).await?).await?, ["3"]);
    assert!(bob.sql(OF_SECRET).await.is_err());
    // Whoever knows where it is may say so: the catalog alone is no limit.
    bob.attach(load_kv("secret", world.secret())?, None::<&str>).await?;
    assert_eq!(rows(bob.sql(OF_SECRET).await?).await?, ["3"]);
    Ok(())
}

#[tokio::test]
async fn a_client_that_may_use_the_catalog_alone_is_refused_all_else_by_name() -> Result<()> {
    let world = World::start(true).await?;
    let (alice, bob) = (world.client("alice").await?, world.client("bob").await?);
    assert!(bob.cluster_catalog().await?.only);
    assert_eq!(rows(bob.sql(STATEMENTS[0]).await?).await?, NAMES);
    assert_eq!(rows(bob.sql(STATEMENTS[2]).await?).await?, ["3 | 20"]);
    assert_eq!(rows(alice.sql(OF_SECRET).await?).await?, ["3"]);

    let secret = world.files.path("secret.lance");
    let store = load_kv("mine", world.secret())?;
    let refused = bob.attach(store, None::<&str>).await.err().context("it was attached")?;
    check_denied(&refused, &format!("the lance store 'mine' at {secret}"));
    let path = world.files.path("other.csv");
    let refused = bob.sql(&format!("SELECT * FROM '{path}'")).await.err();
    check_denied(&refused.context("it was read")?, &format!("the input {path}"));
    let refused = bob.read(other(&world.files)).await.err().context("it was read")?;
    check_denied(&refused, &format!("the input {path}"));
    // What there is not is no different.
    let refused = bob.read("/no/such/file.csv").await.err().context("it was read")?;
    check_denied(&refused, "the input /no/such/file.csv");
    Ok(())
}

#[tokio::test]
async fn tables_and_stores_in_memory_are_a_client_s_own() -> Result<()> {
    let world = World::start(true).await?;
    let bob = world.client("bob").await?;
    let names = batch([("id", ints([1, 2])), ("name", strings(["one", "two"]))]);
    bob.attach(load_kv("names", MemoryOptions::batch(names, "id"))?, None::<&str>).await?;
    bob.register_batches("t", &[batch([("id", ints([2, 1]))])])?;
    let query = "SELECT id, kv_get(id, source => 'names')['name'] AS name FROM t";
    assert_eq!(rows(bob.sql(query).await?).await?, ["2 | two", "1 | one"]);
    Ok(())
}

#[tokio::test]
async fn operators_use_everything() -> Result<()> {
    let world = World::start(true).await?;
    let olga = world.session(world.keys.peer("operator-olga", "operator")).await?;
    assert!(!olga.cluster_catalog().await?.only);
    olga.attach(load_kv("mine", world.secret())?, None::<&str>).await?;
    let query = "SELECT count(*) AS n FROM mine";
    assert_eq!(rows(olga.sql(query).await?).await?, ["3"]);
    assert_eq!(rows(olga.read(other(&world.files)).await?).await?, ["1"]);
    Ok(())
}

/// A plan that scans a file whose columns nobody was asked for.
fn plan(path: &str) -> Result<bytes::Bytes> {
    let table = ScanTable {
        layout: Layout::Csv(CsvOptions::default()),
        location: Location { url: "file:///".to_owned(), profile: None },
        file_schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
        partition_schema: Arc::new(Schema::empty()),
    };
    let slice = FileSlice {
        path: path.trim_start_matches('/').to_owned(),
        size: 4,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        bytes: 0..4,
        rows: None,
        lines_before: 0,
    };
    let partitions = vec![ScanPartition { slices: vec![slice], rows: None }];
    let scan = InputScanExec::try_new(Arc::new(table), vec![0], None, partitions)?;
    let scan: Arc<dyn ExecutionPlan> = Arc::new(scan);
    Ok(encode_plan(&scan)?)
}

#[tokio::test]
async fn a_plan_that_is_made_by_hand_is_refused_where_it_is_submitted() -> Result<()> {
    let world = World::start(true).await?;
    let (limits, credentials) = (Limits::default(), world.security("bob").load()?);
    let address = &world.cluster.address;
    let transport = rpc::connect(address, Service::Client, &limits, &credentials).await?;
    let client = ClientApiClient::new(Default::default(), transport).spawn();
    let submit = async |path: &str| -> Result<keyloom_common::Result<()>> {
        let (id, misses) = (JobId::new(), Default::default());
        let plan = plan(path)?.into();
        let terms = JobTerms::default();
        let (batch_rows, discard, trace) = (8192, false, None);
        let job = Submission { id, plan, batch_rows, discard, misses, terms, trace };
        Ok(in_time(limits.call_timeout(), |context| client.submit(context, job)).await)
    };
    let other = world.files.path("other.csv");
    let escape = format!("{}/../other.csv", world.files.path("items.csv"));
    for path in [other.as_str(), "/etc/passwd", &escape] {
        let refused = submit(path).await?.err().with_context(|| format!("{path} was taken"))?;
        check_denied(&refused, &format!("the input {path}"));
    }
    submit(&world.files.path("items.csv")).await??;
    Ok(())
}
