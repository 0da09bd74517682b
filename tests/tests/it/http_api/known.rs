//! Who asks: jobs belong to somebody, whichever way they came.

use anyhow::Result;
use keyloom_client::Session;
use serde_json::json;

use super::{Asker, PORT, plain, refused};
use crate::harness::{Cluster, Keys};

#[tokio::test]
async fn a_token_says_whose_a_job_is_and_what_else_one_may() -> Result<()> {
    let keys = Keys::tokens()?;
    let mut cluster = Cluster::start_with_keys(1, &keys, &[PORT], &[]).await?;
    let address = cluster.coordinator.line_with("http://")?;
    let asker = async |role| Asker::new(address.clone(), Some(Keys::token(role))).await;
    let (client, operator) = (asker("client").await?, asker("operator").await?);

    let nobody = plain::ask(&address, "/v1/jobs", &plain::Request::get()).await?;
    refused(&nobody, 401, "permission_denied")?;
    client.description.check("GET", "/v1/jobs", &nobody)?;
    let token = Keys::token("worker");
    let request = plain::Request { token: Some(&token), ..plain::Request::get() };
    let worker = plain::ask(&address, "/v1/jobs", &request).await?;
    refused(&worker, 403, "permission_denied")?;

    let statement = json!({ "sql": "SELECT 1 AS one" });
    let (own, other) = (client.done(&statement).await?, operator.done(&statement).await?);
    // Operators may have all, and clients what is theirs.
    assert_eq!(operator.get(&format!("/v1/jobs/{own}")).await?.status, 200);
    let asked = [("GET", ""), ("DELETE", ""), ("GET", "/results"), ("GET", "/logs")];
    for (method, path) in asked.into_iter().chain([("POST", "/resume")]) {
        let reply = client.ask(method, &format!("/v1/jobs/{other}{path}"), None).await?;
        refused(&reply, 403, "permission_denied")?;
    }
    let same = json!({ "sql": "SELECT 2 AS two", "id": own });
    let reply = operator.ask("POST", "/v1/jobs", Some(&same)).await?;
    refused(&reply, 403, "permission_denied")?;
    let listed = client.get("/v1/jobs").await?.json()?;
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["left_out"], 0);
    let rows = client.get(&format!("/v1/jobs/{own}/results")).await?.json()?;
    assert_eq!(rows, json!([{ "one": 1 }]));

    // It is the same job for those who come by the other port.
    let settings = keyloom_client::Settings { security: keys.role("client"), ..Default::default() };
    let session = Session::connect_with(&cluster.address, settings).await?;
    let jobs = session.jobs().await?.jobs;
    assert_eq!(jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>(), [own]);

    let workers = client.get("/v1/workers").await?.json()?;
    let worker = workers["workers"][0]["id"].as_str().unwrap_or_default();
    let drain = format!("/v1/workers/{worker}/drain");
    let reply = client.ask("POST", &drain, None).await?;
    refused(&reply, 403, "permission_denied")?;
    assert_eq!(operator.ask("POST", &drain, None).await?.status, 204);
    cluster.wait_for_workers(0).await
}

#[tokio::test]
async fn jobs_are_taken_only_where_the_settings_say_so_and_within_their_bounds() -> Result<()> {
    let off = [PORT, ("KEYLOOM_COORDINATOR_HTTP_JOBS__ENABLED", "false")];
    let mut cluster = Cluster::start_with(0, &off, &[]).await?;
    let address = cluster.coordinator.line_with("http://")?;
    let reply = plain::ask(&address, "/v1/openapi.json", &plain::Request::get()).await?;
    assert_eq!(reply.status, 404, "{reply:?}");

    let small = [PORT, ("KEYLOOM_COORDINATOR_HTTP_JOBS__BODY_BYTES", "100")];
    let mut cluster = Cluster::start_with(0, &small, &[]).await?;
    let asker = Asker::new(cluster.coordinator.line_with("http://")?, None).await?;
    let large = json!({ "sql": format!("SELECT '{}'", "x".repeat(100)) });
    let reply = asker.ask("POST", "/v1/jobs", Some(&large)).await?;
    let message = refused(&reply, 413, "resource_exhausted")?;
    assert!(message.contains("http_jobs.body_bytes"), "{message}");
    Ok(())
}
