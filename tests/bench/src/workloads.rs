//! The workloads: a request table, the lookups that are made of it, and how they are run.

mod groups;
mod joins;
mod security;
mod writes;

use std::fmt::Write;

use crate::data::{
    keys::KeyKind,
    requests::{Draw, Keys, Requests},
};

/// The name of the workload of TPC-H's queries.
pub(crate) const TPCH: &str = "tpch";

/// Work to be done by every variant alike.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) about: &'static str,
    pub(crate) requests: Requests,
    /// The workload whose request table this one reads, if not its own.
    pub(crate) requests_of: Option<&'static str>,
    pub(crate) calls: Vec<Call>,
    pub(crate) variants: Vec<Variant>,
    /// How often each variant is measured at most: some take minutes.
    pub(crate) most_runs: u32,
}

/// A lookup that becomes a column of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The name of the column.
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) store: &'static str,
    /// The column of the request table that holds the keys.
    pub(crate) key: &'static str,
    /// The columns wanted; all of the store's if there are none.
    pub(crate) columns: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Get,
    BatchGet,
    Exists,
}

/// A way to do the work. Each measurement is a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Variant {
    /// Calls of the lance crate alone, doing the least possible work.
    Raw,
    /// A session that is its own cluster.
    Embedded,
    /// A cluster of one worker process with two slots.
    OneWorker,
    /// A cluster of two worker processes with one slot each.
    TwoWorkers,
    /// One worker process with one slot; the rows are dropped on the worker's side.
    OneSlot,
    /// Two worker processes with one slot each; the rows are dropped on the workers' side.
    TwoSlots,
    /// One worker process; the client drops the rows as they come, of results of two sizes.
    Stream,
    /// Lookups through an open store of the worker, a batch of keys against single ones.
    Store,
    /// Many tasks that do nothing.
    Tasks,
    /// A hundred thousand such tasks and a million, on workers that only say that they are through.
    IdleWorkers,
    /// The scheduler's state alone, with a thousand simulated workers.
    Scheduler,
    /// A cluster of one worker process; the request table is Parquet files of many row groups, each
    /// of which is a task.
    ManyFiles,
    /// The same rows in one file; its row groups are put together as by default.
    OneFile,
    /// An embedded session, in which joins with stores go as they do by default.
    ByCost,
    /// The same, in which they are lookups.
    Lookup,
    /// The same, in which stores are scanned as tables.
    Scan,
    /// The same rows by functions instead of joins.
    KvGet,
    /// Statements that are planned, and do not run.
    Planning,
    /// As a cluster of one worker process, with TLS and certificates on both sides.
    Mtls,
    /// Clusters of one worker process: one that is watched, and one that is not.
    Watched,
    /// Jobs of a cluster with TLS while thousands are at its door who have none.
    Strangers,
    /// DataFusion alone: scans, hash joins and its own writer, on all cores.
    #[value(name = "datafusion")]
    DataFusion,
}

impl Variant {
    /// As it is written on the command line and in results.
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// All workloads, in the order in which they run.
pub(crate) fn all() -> Vec<Workload> {
    use Variant::{
        ByCost, Embedded, IdleWorkers, KvGet, Lookup, ManyFiles, OneFile, OneSlot, OneWorker,
        Planning, Raw, Scan, Scheduler, Store, Stream, Tasks, TwoSlots, TwoWorkers,
    };
    let everywhere = vec![Raw, Embedded, OneWorker, TwoWorkers];
    let within = vec![Raw, Embedded];
    let uniform = |rows, of| Requests::of(rows, Keys::uniform("id", of));
    let guide = || Requests {
        rows: 100_000,
        fixed: false,
        columns: vec![
            Keys { missing: 10, ..Keys::uniform("user_id", 250_000) },
            Keys { missing: 10, ..Keys::uniform("product_id", 250_000) },
        ],
    };
    let sparse = || Requests::of(50_000, Keys { missing: 10, ..Keys::uniform("id", 5_000_000) });
    vec![
        Workload {
            about: "50 k uniform keys, 1 % missing, of 5 M rows",
            variants: everywhere.clone(),
            ..Workload::new("sparse", sparse(), items("items_5m", "meta_5m"))
        },
        Workload {
            about: "1 M uniform keys of 1 M rows; 500 MB of results",
            variants: vec![Raw, Embedded, OneWorker, TwoWorkers, OneSlot, TwoSlots],
            ..Workload::new("dense", uniform(1_000_000, 1_000_000), items("items_1m", "meta_1m"))
        },
        Workload {
            about: "1 M keys by Zipf(1.2) of 1 M rows",
            variants: everywhere,
            ..Workload::new(
                "skewed",
                Requests::of(
                    1_000_000,
                    Keys { draw: Draw::Zipf(1.2), ..Keys::uniform("id", 1_000_000) },
                ),
                items("items_1m", "meta_1m"),
            )
        },
        Workload {
            about: "integer keys: 250 k uniform of 1 M rows",
            variants: within.clone(),
            ..Workload::new(
                "integers",
                Requests::of(
                    250_000,
                    Keys { kind: KeyKind::Integer, ..Keys::uniform("id", 1_000_000) },
                ),
                vec![get("item", "items_int_1m", "id", &["embedding", "name"])],
            )
        },
        Workload {
            about: "lists of 32 keys: 10 k uniform of 1 M rows",
            variants: within.clone(),
            ..Workload::new(
                "lists",
                Requests::of(10_000, Keys { list: Some(32), ..Keys::uniform("ids", 1_000_000) }),
                vec![Call {
                    function: Function::BatchGet,
                    ..get("items", "items_1m", "ids", &["embedding", "name"])
                }],
            )
        },
        Workload {
            about: "rows of 50 columns: 200 k uniform of 200 k rows",
            variants: within.clone(),
            ..Workload::new(
                "wide",
                uniform(200_000, 200_000),
                vec![get("row", "wide_200k", "id", &[])],
            )
        },
        Workload {
            about: "values of 100 KB: 5 k uniform of 5 k rows",
            variants: within.clone(),
            ..Workload::new(
                "values",
                uniform(5_000, 5_000),
                vec![get("value", "values_5k", "id", &["content"])],
            )
        },
        Workload {
            about: "seven lookups over three stores, 100 k rows",
            variants: within.clone(),
            ..Workload::new("guide", guide(), guide_calls())
        },
        Workload {
            about: "the three distinct fetches of guide",
            requests_of: Some("guide"),
            variants: within.clone(),
            ..Workload::new("guide-fetches", guide(), guide_fetches())
        },
        Workload {
            about: "kv_exists alone: 50 k keys of 5 M rows",
            requests_of: Some("sparse"),
            variants: within.clone(),
            ..Workload::new("exists", sparse(), vec![exists("exists", "items_5m", "id")])
        },
        Workload {
            about: "behind a server with latency: 5 k uniform keys of 1 M rows",
            variants: within,
            ..Workload::new("s3", uniform(5_000, 1_000_000), items("items_1m", "meta_1m"))
        },
        Workload {
            about: "1,000 keys in one call against 1,000 calls of one key",
            variants: vec![Store],
            ..Workload::new(
                "calls",
                Requests { fixed: true, ..uniform(1_000, 1_000_000) },
                vec![get("item", "items_1m", "id", &["embedding", "name"])],
            )
        },
        Workload {
            about: "4,000 tasks without a lookup",
            variants: vec![Tasks],
            ..Workload::new("tasks", uniform(1, 1), vec![])
        },
        Workload {
            about: "100 k and 1 M tasks on workers that do nothing; 1 M in the scheduler alone",
            requests_of: Some("tasks"),
            variants: vec![IdleWorkers, Scheduler],
            most_runs: 1,
            ..Workload::new("many-tasks", uniform(1, 1), vec![])
        },
        Workload {
            about: "10 k row groups of 500 columns, 100 k keys of 1 M rows",
            requests_of: Some("tasks"),
            variants: vec![ManyFiles, OneFile],
            most_runs: 1,
            ..Workload::new(
                "row-groups",
                uniform(1, 1),
                vec![get("meta", "meta_1m", "id", &["category"])],
            )
        },
        Workload {
            about: "left joins of 50 k keys with two stores of 5 M rows",
            requests_of: Some("sparse"),
            variants: vec![ByCost, Lookup, Scan, KvGet],
            ..Workload::new("joins-sparse", sparse(), joined("items_5m", "meta_5m"))
        },
        Workload {
            about: "left joins of 1 M keys with two stores of 1 M rows",
            requests_of: Some("dense"),
            variants: vec![ByCost, Lookup, Scan, KvGet],
            ..Workload::new(
                "joins-dense",
                uniform(1_000_000, 1_000_000),
                joined("items_1m", "meta_1m"),
            )
        },
        Workload {
            about: "TPC-H's queries, of 600 k lines; all other tables are stores",
            requests_of: Some("tasks"),
            variants: vec![ByCost, Lookup, Scan],
            most_runs: 3,
            ..Workload::new(TPCH, uniform(1, 1), vec![])
        },
        Workload {
            about: "statements of 50 lookups over 20 stores are planned",
            requests_of: Some("tasks"),
            variants: vec![Planning],
            ..Workload::new("planning", uniform(1, 1), vec![])
        },
        Workload {
            about: "results of 0.5 and 2 GB that nobody keeps",
            requests_of: Some("dense"),
            variants: vec![Stream],
            ..Workload::new(
                "stream",
                uniform(1_000_000, 1_000_000),
                vec![get("item", "items_1m", "id", &["embedding"])],
            )
        },
    ]
    .into_iter()
    .chain(security::all())
    .chain(writes::all())
    .chain(groups::all())
    .collect()
}

/// Embedding and name of an item, its category from a second store, and whether that holds it.
fn items(items: &'static str, meta: &'static str) -> Vec<Call> {
    vec![
        get("item", items, "id", &["embedding", "name"]),
        get("meta", meta, "id", &["category"]),
        exists("has_meta", meta, "id"),
    ]
}

/// Name and category of an item, of two stores.
fn joined(items: &'static str, meta: &'static str) -> Vec<Call> {
    vec![get("item", items, "id", &["name"]), get("meta", meta, "id", &["category"])]
}

/// The multi-modal example of the guide.
fn guide_calls() -> Vec<Call> {
    vec![
        get("user_embeddings", "users_250k", "user_id", &["embedding"]),
        get("user_profile", "users_250k", "user_id", &["name", "country", "age"]),
        get("user_behavior", "behavior_200k", "user_id", BEHAVIOR),
        get("product_embeddings", "products_250k", "product_id", &["embedding"]),
        get("product_info", "products_250k", "product_id", &["title", "category", "price"]),
        exists("user_has_behavior", "behavior_200k", "user_id"),
        exists("product_available", "products_250k", "product_id"),
    ]
}

fn guide_fetches() -> Vec<Call> {
    vec![
        get("user", "users_250k", "user_id", &["embedding", "name", "country", "age"]),
        get("user_behavior", "behavior_200k", "user_id", BEHAVIOR),
        get("product", "products_250k", "product_id", &["embedding", "title", "category", "price"]),
    ]
}

const BEHAVIOR: &[&str] = &["clicks", "score", "last_category"];

fn get(
    name: &'static str,
    store: &'static str,
    key: &'static str,
    columns: &'static [&'static str],
) -> Call {
    Call { name, function: Function::Get, store, key, columns }
}

fn exists(name: &'static str, store: &'static str, key: &'static str) -> Call {
    Call { name, function: Function::Exists, store, key, columns: &[] }
}

impl Workload {
    fn new(name: &'static str, requests: Requests, calls: Vec<Call>) -> Self {
        Self {
            name,
            about: "",
            requests,
            requests_of: None,
            calls,
            variants: vec![],
            most_runs: u32::MAX,
        }
    }

    /// The workload of this name.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let found = all().into_iter().find(|workload| workload.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = all().iter().map(|workload| workload.name).collect();
            anyhow::anyhow!("no workload '{name}'; there are {}", names.join(", "))
        })
    }

    /// The workload whose request table it reads.
    pub(crate) fn requests_name(&self) -> &'static str {
        self.requests_of.unwrap_or(self.name)
    }

    /// The stores, each once.
    pub(crate) fn stores(&self) -> Vec<&'static str> {
        let mut stores: Vec<_> = self.calls.iter().map(|call| call.store).collect();
        stores.sort_unstable();
        stores.dedup();
        stores
    }

    /// The query, with stores under their own names and the request table as `requests`.
    pub(crate) fn sql(&self) -> String {
        let keys = self.requests.columns.iter().map(|keys| keys.name.to_owned());
        let columns: Vec<_> = keys.chain(self.calls.iter().map(Call::sql)).collect();
        format!("SELECT {} FROM requests", columns.join(", "))
    }
}

impl Call {
    fn sql(&self) -> String {
        let function = match self.function {
            Function::Get => "kv_get",
            Function::BatchGet => "kv_batch_get",
            Function::Exists => "kv_exists",
        };
        let mut call = format!("{function}({}, source => '{}'", self.key, self.store);
        if !self.columns.is_empty() {
            let _ = write!(call, ", columns => ['{}']", self.columns.join("', '"));
        }
        if self.function != Function::Exists {
            call.push_str(", on_error => 'null'");
        }
        let _ = write!(call, ") AS {}", self.name);
        call
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn calls_are_written_as_sql() -> anyhow::Result<()> {
        assert_eq!(
            Workload::named("sparse")?.sql(),
            "SELECT id, kv_get(id, source => 'items_5m', columns => ['embedding', 'name'], \
             on_error => 'null') AS item, kv_get(id, source => 'meta_5m', columns => ['category'], \
             on_error => 'null') AS meta, kv_exists(id, source => 'meta_5m') AS has_meta \
             FROM requests"
        );
        Ok(())
    }
}
