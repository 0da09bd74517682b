//! Jobs over HTTP, as programs without a client of ours hand them in and follow them. Whatever is
//! answered is checked against the description that the coordinator gives of itself.

mod described;
mod known;
mod plain;

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use arrow::ipc::reader::StreamReader;
use keyloom_client::Session;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::{described::Description, plain::Reply};
use crate::harness::{Cluster, eventually, products, rows, show_rows, write_lance};

const PORT: (&str, &str) = ("KEYLOOM_COORDINATOR_HTTP__LISTEN", "127.0.0.1:0");

/// Somebody who asks a coordinator, and believes nothing that is not described.
struct Asker {
    address: String,
    token: Option<String>,
    description: Description,
}

impl Asker {
    async fn new(address: String, token: Option<String>) -> Result<Self> {
        let request = plain::Request { token: token.as_deref(), ..plain::Request::get() };
        let reply = plain::ask(&address, "/v1/openapi.json", &request).await?;
        ensure!(reply.status == 200, "{reply:?}");
        Ok(Self { description: Description::read(&reply)?, address, token })
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let body = body.map(ToString::to_string);
        let (token, body) = (self.token.as_deref(), body.as_deref());
        let request = plain::Request { method, token, body, ..plain::Request::get() };
        let reply = plain::ask(&self.address, path, &request).await?;
        let checked = self.description.check(method, path, &reply);
        checked.with_context(|| format!("{method} {path}: {reply:?}"))?;
        Ok(reply)
    }

    async fn get(&self, path: &str) -> Result<Reply> {
        self.ask("GET", path, None).await
    }

    /// Hands a job in.
    async fn submit(&self, job: &Value) -> Result<String> {
        let reply = self.ask("POST", "/v1/jobs", Some(job)).await?;
        ensure!(reply.status == 202, "{reply:?}");
        let job = reply.json()?;
        let id = job["id"].as_str().context("an id")?.to_owned();
        let place = format!("location: /v1/jobs/{id}\r\n");
        ensure!(reply.head.contains(&place), "{}", reply.head);
        Ok(id)
    }

    /// The job, once it has ended.
    async fn ended(&self, id: &str) -> Result<Value> {
        let path = format!("/v1/jobs/{id}");
        let ask = async || self.get(&path).await?.json();
        let is_end = |job: &Value| !matches!(job["state"].as_str(), Some("queued" | "running"));
        eventually(ask, is_end).await
    }

    /// The id of a job that is done.
    async fn done(&self, job: &Value) -> Result<String> {
        let id = self.submit(job).await?;
        let ended = self.ended(&id).await?;
        ensure!(ended["state"] == "done", "{ended}");
        Ok(id)
    }
}

/// That something is refused, and what is said.
fn refused(reply: &Reply, status: u16, kind: &str) -> Result<String> {
    let body = reply.json()?;
    assert_eq!((reply.status, &body["error"]["kind"]), (status, &json!(kind)), "{body}");
    Ok(body["error"]["message"].as_str().context("a message")?.to_owned())
}

/// A cluster that takes jobs over HTTP.
async fn cluster() -> Result<(Cluster, Asker)> {
    let mut cluster = Cluster::start_with(1, &[PORT], &[]).await?;
    let address = cluster.coordinator.line_with("http://")?;
    Ok((cluster, Asker::new(address, None).await?))
}

/// Items and the store of the products that they name.
async fn shop() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("items.csv"), "n,k\n1,a\n2,x\n3,\n4,b\n5,a\n")?;
    write_lance(&path(&folder, "products.lance"), &[products()], 2).await?;
    Ok(folder)
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// A job that looks the products of items up.
fn job(folder: &TempDir) -> Value {
    json!({
        "sql": "SELECT n, kv_get(k, on_error => 'null')['name'] AS name FROM items \
                WHERE n >= $least",
        "inputs": { "items": { "path": path(folder, "items.csv") } },
        "stores": {
            "products": { "kind": "lance", "uri": path(folder, "products.lance"), "key": "id" }
        },
        "params": { "least": 2 },
        "name": "shop",
    })
}

#[tokio::test]
async fn a_job_is_handed_in_followed_and_read_once() -> Result<()> {
    let ((_cluster, asker), folder) = (cluster().await?, shop().await?);
    let id = asker.done(&job(&folder)).await?;
    let ended = asker.ended(&id).await?;
    assert_eq!(ended["name"], "shop");
    assert_eq!(ended["owner"].as_str().map(|owner| owner.contains("anybody")), Some(true));
    let counted = &ended["summary"]["stores"]["products"];
    assert_eq!((&ended["summary"]["rows"], &counted["missed_rows"]), (&json!(4), &json!(1)));

    let results = format!("/v1/jobs/{id}/results");
    let expected = json!([
        { "n": 2, "name": null },
        { "n": 3, "name": null },
        { "n": 4, "name": "banana" },
        { "n": 5, "name": "apple" },
    ]);
    assert_eq!(asker.get(&results).await?.json()?, expected);
    let again = async || Ok(asker.get(&results).await?.status);
    eventually(again, |status| *status == 404).await?;

    let log = asker.get(&format!("/v1/jobs/{id}/logs")).await?.json()?;
    assert_eq!((&log["id"], &log["state"]), (&json!(id), &json!("done")));
    let lines = log["lines"].as_array().context("lines")?;
    let kinds = [lines.first(), lines.last()].map(|line| line.map(|line| &line["kind"]));
    assert_eq!(kinds, [Some(&json!("submitted")), Some(&json!("done"))]);
    let numbers: Vec<_> = lines.iter().filter_map(|line| line["number"].as_u64()).collect();
    assert_eq!(numbers, (0..lines.len() as u64).collect::<Vec<_>>());

    let listed = asker.get("/v1/jobs").await?.json()?;
    let ids: Vec<_> =
        listed["jobs"].as_array().context("jobs")?.iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, [&json!(id)]);
    let workers = asker.get("/v1/workers").await?.json()?;
    assert_eq!(workers["workers"][0]["slots"], 2);
    Ok(())
}

#[tokio::test]
async fn rows_come_as_csv_and_as_arrow_too() -> Result<()> {
    let ((_cluster, asker), folder) = (cluster().await?, shop().await?);
    let job = job(&folder);
    let csv = asker.done(&job).await?;
    let text = asker.get(&format!("/v1/jobs/{csv}/results.csv")).await?.text()?;
    assert_eq!(text, "n,name\n2,\n3,\n4,banana\n5,apple\n");
    let none = asker.done(&json!({ "sql": "SELECT 1 AS one, 'a' AS two WHERE false" })).await?;
    let place = format!("/v1/jobs/{none}/results.csv");
    let head = plain::Request { method: "HEAD", ..plain::Request::get() };
    assert_eq!(plain::ask(&asker.address, &place, &head).await?.status, 405);
    let text = asker.get(&place).await?.text()?;
    assert_eq!(text, "one,two\n", "without rows, too, and not taken by HEAD");
    let arrow = asker.done(&job).await?;
    let reply = asker.get(&format!("/v1/jobs/{arrow}/results.arrow")).await?;
    let batches = StreamReader::try_new(reply.body.as_slice(), None)?;
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(show_rows(&batches)?, ["2 | NULL", "3 | NULL", "4 | banana", "5 | apple"]);
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_handed_in_twice_runs_once() -> Result<()> {
    let ((_cluster, asker), folder) = (cluster().await?, shop().await?);
    let mut job = job(&folder);
    let id = "0e6f6e2c-3c1b-4a57-9a55-5d0f3f0c8f11";
    (job["id"], job["output"]) = (json!(id), json!({ "path": path(&folder, "out/") }));
    assert_eq!(asker.done(&job).await?, id);
    // What it has written is there, and would be refused to another.
    assert_eq!(asker.submit(&job).await?, id);
    let jobs = asker.get("/v1/jobs").await?.json()?;
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[tokio::test]
async fn workers_write_the_output_of_a_job() -> Result<()> {
    let ((cluster, asker), folder) = (cluster().await?, shop().await?);
    let (mut job, output) = (job(&folder), path(&folder, "out/"));
    job["output"] = json!({ "path": output, "format": "parquet" });
    let id = asker.done(&job).await?;
    let ended = asker.ended(&id).await?;
    assert_eq!(ended["written"]["rows"], 4, "{ended}");
    let session = Session::connect(&cluster.address).await?;
    let written = rows(session.read(output).await?).await?;
    assert_eq!(written, ["2 | NULL", "3 | NULL", "4 | banana", "5 | apple"]);
    let reply = asker.get(&format!("/v1/jobs/{id}/results")).await?;
    let message = refused(&reply, 409, "invalid")?;
    assert!(message.starts_with(&format!("the rows of job {id} are in ")), "{message}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_said_at_once_and_described() -> Result<()> {
    let (_cluster, asker) = cluster().await?;
    let submit = async |job: Value, words: &str| -> Result<()> {
        let reply = asker.ask("POST", "/v1/jobs", Some(&job)).await?;
        let message = refused(&reply, 400, "invalid")?;
        assert!(message.contains(words), "{job}: {message}");
        Ok(())
    };
    submit(json!({ "sql": "SELECT nothing" }), "nothing").await?;
    submit(json!({ "sql": "SELEC 1" }), "SELEC").await?;
    submit(json!({ "sql": "SELECT 1", "outptu": {} }), "unknown field `outptu`").await?;
    let once = json!({ "sql": "SELECT 1", "group_keys": "once" });
    submit(once, "unknown variant `once`, expected one of `never`, `auto`, `always`").await?;
    submit(json!({ "sql": "SELECT $day" }), "parameter 'day' has no value").await?;

    let nobody = "/v1/jobs/0e6f6e2c-3c1b-4a57-9a55-5d0f3f0c8f11";
    for (method, path) in [
        ("GET", nobody.to_owned()),
        ("DELETE", nobody.to_owned()),
        ("GET", format!("{nobody}/results")),
        ("POST", format!("{nobody}/resume")),
        ("POST", "/v1/workers/0e6f6e2c-3c1b-4a57-9a55-5d0f3f0c8f11/drain".to_owned()),
    ] {
        let reply = asker.ask(method, &path, None).await?;
        refused(&reply, 404, "not_found")?;
    }
    for path in [
        "/v1/jobs/newest".to_owned(),
        "/v1/jobs/%FF".to_owned(),
        format!("{nobody}/results?format=csv"),
    ] {
        let reply = asker.get(&path).await?;
        refused(&reply, 400, "invalid")?;
    }
    for (method, path) in [("GET", "/v1/jobs"), ("DELETE", nobody), ("GET", "/v1/openapi.json")] {
        let reply = asker.ask(method, &format!("{path}?limit=1"), None).await?;
        let message = refused(&reply, 400, "invalid")?;
        assert!(message.starts_with("unknown query parameter 'limit'"), "{message}");
    }
    let reply = asker.get("/v1/everything").await?;
    refused(&reply, 404, "not_found")?;
    let reply = asker.ask("PUT", "/v1/jobs", None).await?;
    refused(&reply, 405, "invalid")?;
    let wrong = plain::Request {
        method: "POST",
        body: Some("{}"),
        media: "text/plain",
        ..plain::Request::get()
    };
    let reply = plain::ask(&asker.address, "/v1/jobs", &wrong).await?;
    refused(&reply, 415, "invalid")?;
    asker.description.check("POST", "/v1/jobs", &reply)
}

#[tokio::test]
async fn what_a_job_asks_for_in_vain_is_said_where_it_is_handed_in() -> Result<()> {
    let ((_cluster, asker), folder) = (cluster().await?, shop().await?);
    let mut job = job(&folder);
    job["sql"] = json!(
        "SELECT kv_get(k, on_error => 'null')['name'] AS name, count(*) AS n FROM items \
         WHERE n >= $least GROUP BY 1"
    );
    job["max_misses"] = json!("100%");
    let reply = asker.ask("POST", "/v1/jobs", Some(&job)).await?.json()?;
    assert_eq!(reply["warnings"], json!([]), "{reply}");
    job["shuffle"] = json!("always");
    let reply = asker.ask("POST", "/v1/jobs", Some(&job)).await?.json()?;
    let expected = "shuffle = always has no effect: max_misses limits the rows that may miss their \
                    keys, and such a job does not shuffle";
    assert_eq!(reply["warnings"], json!([expected]), "{reply}");
    let ended = asker.ended(reply["id"].as_str().context("an id")?).await?;
    assert_eq!(ended["state"], "done", "{ended}");

    // The only worker listens for no others.
    job.as_object_mut().context("an object")?.remove("max_misses");
    job["group_keys"] = json!("always");
    let reply = asker.ask("POST", "/v1/jobs", Some(&job)).await?.json()?;
    let told = "fewer than two workers listen for others (shuffle.listen), and it does not shuffle";
    let expected = format!("shuffle = always has no effect: {told}");
    assert_eq!(reply["warnings"], json!([expected]), "{reply}");
    let id = reply["id"].as_str().context("an id")?;
    let log = asker.get(&format!("/v1/jobs/{id}/logs")).await?.json()?;
    let lines = log["lines"].as_array().context("lines")?;
    let line = lines.iter().find(|line| line["kind"] == "not_shuffled").context("a line")?;
    assert_eq!(line["text"], told);
    let ended = asker.ended(id).await?;
    assert_eq!(ended["state"], "done", "{ended}");
    Ok(())
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_one_that_is_cancelled_has_no_rows() -> Result<()> {
    let ((_cluster, asker), folder) = (cluster().await?, shop().await?);
    let mut failing = job(&folder);
    failing["max_misses"] = json!(0);
    let id = asker.submit(&failing).await?;
    let ended = asker.ended(&id).await?;
    assert_eq!((&ended["state"], &ended["error"]["kind"]), (&json!("failed"), &json!("not_found")));
    let reply = asker.get(&format!("/v1/jobs/{id}/results")).await?;
    let message = refused(&reply, 409, "invalid")?;
    assert!(message.contains(ended["error"]["message"].as_str().context("why")?), "{message}");

    let id = asker.done(&job(&folder)).await?;
    let reply = asker.ask("DELETE", &format!("/v1/jobs/{id}"), None).await?;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    let reply = asker.get(&format!("/v1/jobs/{id}/results")).await?;
    assert!(matches!(reply.status, 404 | 409), "{reply:?}");
    Ok(())
}

#[test]
fn the_document_names_what_is_described() -> Result<()> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http-api.md");
    let text = fs::read_to_string(document)?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let named: BTreeSet<_> = names.filter(|name| name.contains(" /v1/")).collect();
    let expected = [
        "DELETE /v1/jobs/{id}",
        "GET /v1/jobs",
        "GET /v1/jobs/{id}",
        "GET /v1/jobs/{id}/logs",
        "GET /v1/jobs/{id}/results",
        "GET /v1/jobs/{id}/results.arrow",
        "GET /v1/jobs/{id}/results.csv",
        "GET /v1/openapi.json",
        "GET /v1/workers",
        "POST /v1/jobs",
        "POST /v1/jobs/{id}/resume",
        "POST /v1/workers/{id}/drain",
    ];
    assert_eq!(named, BTreeSet::from(expected));
    Ok(())
}
