//! `--summary-file`: what programs read that run jobs again and again.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Keyloom, input, write_arrow};
use crate::harness::{TestSession, batch, ints, on_all_deployments};

on_all_deployments! {
    a_summary_tells_what_a_job_did_or_why_it_failed,
}

async fn a_summary_tells_what_a_job_did_or_why_it_failed(session: &TestSession) -> Result<()> {
    write_arrow(session.path("t.arrow"), &batch([("n", ints([0, 1, 2]))]))?;
    let [flag, table] = input("t", &session.path("t.arrow"));
    let path = session.path("summary.json");
    let run = async |statement: &str| -> Result<(i32, Value)> {
        let arguments =
            ["sql", statement, &flag, &table, "-o", "csv", "-q", "--summary-file", &path];
        let ended = Keyloom::on(session, arguments).await?.run().await?;
        Ok((ended.code, serde_json::from_str(&fs::read_to_string(&path)?)?))
    };
    let (code, done) = run("SELECT n FROM t").await?;
    let told = ["state", "exit_code", "rows", "stores"].map(|name| done[name].clone());
    assert_eq!(told, [json!("done"), json!(0), json!(3), json!({})], "{done}");
    assert!(code == 0 && done["job_id"].is_string() && done["seconds"].is_number(), "{done}");

    let (code, failed) = run("SELECT 1 / n FROM t").await?;
    assert_eq!((code, &failed["state"], &failed["exit_code"]), (1, &json!("failed"), &json!(1)));
    assert!(failed["job_id"].is_string(), "{failed}");
    let message = failed["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("Divide by zero"), "{failed}");

    let (code, mistake) = run("SELECT nix FROM t").await?;
    assert_eq!((code, &mistake["error"]["kind"]), (2, &json!("invalid")), "{mistake}");
    assert_eq!(mistake.get("job_id"), None, "{mistake}");

    let printed = ["sql", "SELECT 1 AS x", "--summary-file", "-"];
    let ended = Keyloom::on(session, printed).await?.run().await?;
    let refusal = "the rows are printed where --summary-file - is to be";
    let told: Value = serde_json::from_str(&ended.stdout)?;
    assert_eq!((ended.code, &told["error"]["message"]), (2, &json!(refusal)), "{ended:?}");
    assert!(ended.stderr.contains(refusal), "{ended:?}");
    Ok(())
}
