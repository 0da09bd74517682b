use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use keyloom_common::{
    BlobId, ErrorKind,
    described::Written,
    input::{CsvOptions, Layout},
    output::{IfExists, OutputKind},
    store::Pin,
};

use super::*;
use crate::samples::{self, scan, store, version};

const KEYS: [(&str, &str); 3] = [("kind", "lance"), ("uri", "/data/products.lance"), ("key", "id")];

fn written(clients: Option<&[&str]>, options: &[(&str, &str)]) -> Written {
    let mut json: serde_json::Map<String, serde_json::Value> = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(*value)))
        .collect();
    if let Some(clients) = clients {
        json.insert("clients".to_owned(), clients.to_vec().into());
    }
    serde_json::from_value(json.into()).unwrap()
}

fn settings(only: bool) -> CatalogSettings {
    let secret = [("kind", "lance"), ("uri", "/data/secret.lance"), ("key", "id")];
    let stores = [
        ("products", written(None, &KEYS)),
        ("secret", written(Some(&["alice", "team-*"]), &secret)),
    ];
    let inputs = [
        ("items", written(None, &[("path", "/data/items/*.csv")])),
        ("pay", written(Some(&["alice"]), &[("path", "/pay/"), ("format", "csv")])),
        ("lines", written(None, &[("path", "/data/lines.lance")])),
    ];
    let named = |(name, written): (&str, Written)| (name.to_owned(), written);
    CatalogSettings {
        stores: stores.into_iter().map(named).collect(),
        inputs: inputs.into_iter().map(named).collect(),
        outputs: vec!["/results/".to_owned(), "s3://shop/out".to_owned()],
        only,
    }
}

fn client(name: &str) -> Identity {
    Identity { role: Role::Client, name: name.into() }
}

/// What a client may use, where it may use nothing else.
fn rights(name: &str) -> Rights {
    Arc::new(Catalog::open(&settings(true)).unwrap()).rights(&client(name)).unwrap()
}

fn spec(name: &str) -> StoreSpec {
    settings(true).stores[name].store(name).unwrap()
}

fn refusal(settings: &CatalogSettings) -> String {
    Catalog::open(settings).unwrap_err().message().to_owned()
}

fn denied(checked: &Result<()>) -> &str {
    let error = checked.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    error.message()
}

#[test]
fn names_are_offered_to_those_for_whom_they_are() {
    let catalog = Catalog::open(&settings(false)).unwrap();
    let offered = |identity: &Identity| {
        let ClusterCatalog { stores, inputs, only } = catalog.offered(identity);
        assert!(!only);
        stores.into_keys().chain(inputs.into_keys()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(offered(&client("alice")), "products secret items lines pay");
    assert_eq!(offered(&client("team-1")), "products secret items lines");
    assert_eq!(offered(&client("bob")), "products items lines");
    assert_eq!(offered(&Identity::anybody()), "products secret items lines pay");
}

#[test]
fn where_others_may_be_named_nothing_is_refused() {
    let open = Arc::new(Catalog::open(&settings(false)).unwrap());
    assert!(open.rights(&client("bob")).is_none());
    let only = Arc::new(Catalog::open(&settings(true)).unwrap());
    assert!(only.rights(&Identity::anybody()).is_none());
    assert!(only.offered(&client("bob")).only && !only.offered(&Identity::anybody()).only);
}

#[test]
fn a_store_that_is_not_offered_is_refused_by_name() {
    let [alice, bob] = ["alice", "bob"].map(rights);
    let pin = Some(Pin::Version(3));
    // Under whatever name, at whichever version.
    let pinned = StoreSpec { name: "mine".to_owned(), pin, ..spec("products") };
    assert_eq!(bob.check_store(&pinned), Ok(()));
    assert_eq!(alice.check_store(&spec("secret")), Ok(()));
    let message = "the lance store 'secret' at /data/secret.lance is not offered by the cluster's \
                   catalog, and catalog.only = true on the coordinator: client 'bob' may use what \
                   the catalog offers by name, and tables and stores in memory";
    assert_eq!(denied(&bob.check_store(&spec("secret"))), message);
    let elsewhere = StoreSpec { place: "/etc/x.lance".to_owned(), ..spec("products") };
    assert!(denied(&bob.check_store(&elsewhere)).contains("/etc/x.lance is not offered"));
    let mut forced = spec("products");
    forced.options.set("row_path", Some("scan"));
    assert!(denied(&bob.check_store(&forced)).contains("with other options"));
}

#[test]
fn contents_are_a_client_s_own() {
    let bob = rights("bob");
    let content = Some(BlobId::of(b"rows"));
    let own = StoreSpec { content, ..StoreSpec::new("own", MEMORY, "") };
    assert_eq!(bob.check_store(&own), Ok(()));
    // But not what they are said to be contents of.
    let other = StoreSpec { content, ..StoreSpec::new("own", LANCE, "/etc/x.lance") };
    denied(&bob.check_store(&other));
}

#[test]
fn an_input_that_is_not_offered_is_refused_by_name() {
    let bob = rights("bob");
    let input = |name: &str| settings(true).inputs[name].input().unwrap();
    assert_eq!(bob.check_input(&InputSpec { piece_bytes: 7, ..input("items") }), Ok(()));
    assert_eq!(bob.check_input(&input("lines")), Ok(()));
    assert!(denied(&bob.check_input(&input("pay"))).starts_with("the input /pay/ is not offered"));
    assert_eq!(rights("alice").check_input(&input("pay")), Ok(()));
    let other = InputSpec { format: Some(Format::Json), ..input("items") };
    assert!(denied(&bob.check_input(&other)).contains("with other options"));
    // A store's rows are read as a table's.
    let table = |path: &str| InputSpec {
        path: path.to_owned(),
        format: Some(Format::Lance),
        given: Vec::new(),
        infer_bytes: 0,
        hive_partitioning: false,
        ..input("lines")
    };
    assert_eq!(bob.check_input(&table("/data/products.lance")), Ok(()));
    denied(&bob.check_input(&table("/data/secret.lance")));
    let profile = Some("admin".to_owned());
    let with_profile = InputSpec { storage_profile: profile, ..table("/data/products.lance") };
    denied(&bob.check_input(&with_profile));
}

fn rows() -> Arc<dyn ExecutionPlan> {
    samples::frame(1)
}

fn lookup(input: Arc<dyn ExecutionPlan>, spec: StoreSpec) -> Arc<dyn ExecutionPlan> {
    samples::lookup(input, vec![store(spec, version(1))])
}

#[test]
fn a_plan_is_refused_for_whatever_it_reads_that_is_not_offered() {
    let bob = rights("bob");
    let csv = |paths: &[&str]| scan(Layout::Csv(CsvOptions::default()), "file:///", paths);
    let lance = |uri: &str| scan(Layout::Lance(version(1)), uri, &[uri]);
    for plan in [
        rows(),
        lookup(rows(), spec("products")),
        csv(&["data/items/a.csv", "data/items/b.csv", "data/items/a.csv"]),
        lance("/data/lines.lance"),
        lance("/data/products.lance"),
    ] {
        assert_eq!(bob.check_plan(&plan), Ok(()), "{plan:?}");
    }
    let below: Arc<dyn ExecutionPlan> =
        Arc::new(CoalescePartitionsExec::new(lookup(rows(), spec("secret"))));
    for (plan, words) in [
        (below, "the lance store 'secret' at /data/secret.lance"),
        (lookup(csv(&["etc/passwd"]), spec("products")), "the input /etc/passwd"),
        (csv(&["data/items/a.csv", "pay/a.csv"]), "the input /data/items/a.csv with 1 others"),
        (csv(&["data/items/../../etc/passwd"]), "the input /data/items/../../etc/passwd"),
        (scan(Layout::Parquet, "s3://bucket/", &["data/items/a.csv"]), "the input s3://bucket"),
        (lance("/data/secret.lance"), "the input /data/secret.lance"),
        // What its pieces are called does not matter: it is read from where it is.
        (
            scan(Layout::Lance(version(1)), "/data/secret.lance", &["/data/lines.lance"]),
            "the input /data/secret.lance",
        ),
    ] {
        let checked = bob.check_plan(&plan);
        assert!(denied(&checked).starts_with(words), "{checked:?}");
    }
    assert_eq!(rights("alice").check_plan(&lookup(csv(&["pay/x"]), spec("secret"))), Ok(()));
}

#[test]
fn all_that_is_wrong_is_named() {
    let mut wrong = settings(false);
    wrong.stores.insert("a-b".to_owned(), written(None, &KEYS));
    wrong.stores.insert("none".to_owned(), written(None, &[("kind", "lance")]));
    wrong.inputs.insert("team".to_owned(), written(Some(&["a b"]), &[("path", "/x.csv")]));
    wrong.inputs.insert("there".to_owned(), written(None, &[("path", "x.csv")]));
    wrong.inputs.insert("secret".to_owned(), written(None, &[("path", "/x.csv")]));
    let told = refusal(&wrong);
    for words in [
        "catalog.stores.a-b: 'a-b' cannot be an alias",
        "; catalog.stores.none: a lance store needs uri; ",
        "catalog.inputs.team: clients has \"a b\", which is no name",
        "catalog.inputs.secret: a store is called so, too",
        "catalog.inputs.there: path is an absolute path or a URI here, not 'x.csv'",
    ] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn there_are_only_so_many_names() {
    let mut many = CatalogSettings::default();
    for n in 0..=4096 {
        many.stores.insert(format!("s{n}"), written(None, &KEYS));
    }
    assert_eq!(refusal(&many), "catalog.stores names 4097, and 4096 at most");
    let long = "x".repeat(2 << 20);
    let uri = format!("/{long}.lance");
    let store = written(None, &[("kind", "lance"), ("uri", &uri), ("key", "id")]);
    many.stores = [("a".to_owned(), store.clone()), ("b".to_owned(), store)].into();
    assert!(refusal(&many).contains("clients get 4194304 at most"));
}

#[test]
fn a_limited_client_writes_to_the_places_for_outputs_alone() {
    let bob = rights("bob");
    let kind = || OutputKind::Lance { if_exists: IfExists::Error, target_file_bytes: 1 };
    let output =
        |path: &str| OutputSpec { path: path.to_owned(), storage_profile: None, kind: kind() };
    for path in ["/results", "/results/a/b.lance", "s3://shop/out/a/", "s3a://shop/out"] {
        assert_eq!(bob.check_output(&output(path)), Ok(()), "{path}");
    }
    for path in ["/results2", "/", "/results/../etc", "s3://shop/outer/", "s3://shop/out//x"] {
        let checked = bob.check_output(&output(path));
        let expected = format!(
            "the output {path} is in none of the places of catalog.outputs, and catalog.only = true \
             on the coordinator: client 'bob' may write nowhere else"
        );
        assert_eq!(denied(&checked), expected);
    }
    let written = |input, path: &str| samples::written(input, path, kind());
    assert_eq!(bob.check_plan(&written(rows(), "/results/a.lance")), Ok(()));
    denied(&bob.check_plan(&written(rows(), "/etc/a.lance")));
    // What is written is not all that is looked at.
    denied(&bob.check_plan(&written(lookup(rows(), spec("secret")), "/results/a")));
}

#[test]
fn places_for_outputs_are_places() {
    let outputs = vec!["out".to_owned(), "s3://b//c".to_owned(), "/fine".to_owned()];
    let wrong = CatalogSettings { outputs, ..CatalogSettings::default() };
    let no_place = |path| {
        format!(
            "catalog.outputs has '{path}', which is no place: write an absolute path or a URL, \
             without empty names and '..' in it"
        )
    };
    assert_eq!(refusal(&wrong), format!("{}; {}", no_place("out"), no_place("s3://b//c")));
}
