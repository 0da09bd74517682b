//! How jobs ran, as JSON and as a page; what other ways would cost.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use serde_json::{Value, json};

use super::{Keyloom, names, write_arrow};
use crate::harness::{TestSession, items, on_all_deployments, products, write_lance};

on_all_deployments! {
    how_a_job_ran_is_told_in_json,
    other_ways_are_priced_in_text_and_json,
    a_page_is_well_formed_and_escapes_what_users_wrote,
    pages_that_cannot_be_are_refused_before_anything_runs,
    a_job_file_says_whether_groups_are_by_keys_first,
}

/// A job that looks products up, whose result has a column of a name that needs escaping.
async fn job(session: &TestSession) -> Result<String> {
    write_lance(&session.path("products.lance"), &[products()], 2).await?;
    write_arrow(session.path("items.arrow"), &items())?;
    let text = r#"[inputs.items]
                  path = 'items.arrow'
                  [stores.products]
                  kind = 'lance'
                  uri = 'products.lance'
                  key = 'id'
                  [job]
                  sql = """
                  SELECT n, kv_get(k, on_error => 'null')['name'] AS "<b>&`p`</b>" FROM items
                  """"#;
    let path = session.path("job.toml");
    fs::write(&path, text)?;
    Ok(path)
}

async fn answer(session: &TestSession, arguments: &[&str]) -> Result<Value> {
    let arguments = [arguments, &["-o", "json"]].concat();
    let ended = Keyloom::on(session, arguments).await?.run().await?;
    Ok(serde_json::from_str(ended.stdout()?)?)
}

async fn how_a_job_ran_is_told_in_json(session: &TestSession) -> Result<()> {
    let job = job(session).await?;
    let ran = answer(session, &["explain", &job, "--analyze"]).await?;
    let analysis = &ran["analysis"];
    assert!(analysis["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{ran}");
    let stage = &analysis["stages"][0];
    assert_eq!((&stage["stage"], &stage["rows"]), (&json!(0), &json!(5)));
    for name in ["start_seconds", "seconds", "share_percent", "task_seconds"] {
        assert!(stage[name].is_f64(), "{name} of {stage}");
    }
    let nodes = analysis["nodes"].as_array().context("nodes")?;
    let lookup = nodes.iter().find(|node| node["name"] == "KvLookupExec").context("a lookup")?;
    assert_eq!((&lookup["stage"], &lookup["rows"]), (&json!(0), &json!(5)));
    let keys = json!({"name": "keys", "store": "products", "value": 4, "unit": "count"});
    assert!(lookup["metrics"].as_array().is_some_and(|all| all.contains(&keys)), "{lookup}");
    assert_eq!(analysis["stores"][0]["counters"]["keys"], 4);
    let note = json!({"kind": "columns", "text": "products: 1 of 4 columns used"});
    assert!(analysis["notes"].as_array().is_some_and(|notes| notes.contains(&note)), "{analysis}");
    assert_eq!(ran["advice"], Value::Null);
    Ok(())
}

async fn other_ways_are_priced_in_text_and_json(session: &TestSession) -> Result<()> {
    let job = job(session).await?;
    let advised = answer(session, &["explain", &job, "--advise"]).await?;
    assert!(
        advised["plan"].as_str().is_some_and(|plan| plan.contains("KvLookupExec")),
        "{advised}"
    );
    let advice = &advised["advice"][0];
    assert_eq!((&advice["store"], &advice["rows"]), (&json!("products"), &json!(3)));
    let ways = advice["ways"].as_array().context("ways")?;
    assert_eq!(ways.len(), 6);
    assert_eq!(ways.iter().filter(|way| way["is_chosen"] == true).count(), 1, "{advice}");
    let missing = "no BTree index on 'id'";
    assert!(ways.iter().any(|way| way["unavailable"] == missing), "{advice}");

    let ended = Keyloom::on(session, ["explain", &job, "--advise"]).await?.run().await?;
    let text = ended.stdout()?;
    assert!(text.contains("ways to rows, and what they are estimated to cost:\nproducts by id: "));
    assert!(text.contains(" in memory  (chosen)\n"), "{text}");
    Ok(())
}

async fn a_page_is_well_formed_and_escapes_what_users_wrote(session: &TestSession) -> Result<()> {
    let (job, page) = (job(session).await?, session.path("job.html"));
    let arguments = ["explain", &job, "--analyze", "--advise", "--html", &page];
    let ended = Keyloom::on(session, arguments).await?.run().await?;
    assert!(ended.stdout()?.starts_with("elapsed: "), "{ended:?}");
    assert!(ended.stderr.contains("page written to "), "{ended:?}");
    let page = fs::read_to_string(&page)?;
    let text = text(&page)?;
    assert!(text.contains("products: 1 of 4 columns used"), "{text}");
    assert!(text.contains("products by id: "), "{text}");
    // Escaped once, on the way in.
    assert!(page.contains("&lt;b&gt;&amp;`p`&lt;/b&gt;"), "{page}");
    assert!(!page.contains("<b>"), "{page}");
    Ok(())
}

/// The text of a page, whose tags and attributes are well-formed.
fn text(page: &str) -> Result<String> {
    let (mut reader, mut open, mut text) = (Reader::from_str(page), Vec::new(), String::new());
    loop {
        match reader.read_event()? {
            Event::Start(tag) => {
                check_attributes(&tag)?;
                open.push(tag.name().as_ref().to_vec());
            }
            Event::Empty(tag) => check_attributes(&tag)?,
            Event::End(tag) => {
                let name = tag.name().as_ref().to_vec();
                ensure!(open.pop() == Some(name), "a tag is closed that was not opened last");
            }
            Event::Text(part) => text.push_str(std::str::from_utf8(&part)?),
            Event::GeneralRef(name) => match &*name {
                b"amp" | b"lt" | b"gt" | b"quot" | b"#39" => {}
                other => bail!("an unknown reference {}", String::from_utf8_lossy(other)),
            },
            Event::Eof => break,
            _ => {}
        }
    }
    ensure!(open.is_empty(), "{} tags are open", open.len());
    Ok(text)
}

fn check_attributes(tag: &BytesStart<'_>) -> Result<()> {
    for attribute in tag.attributes() {
        attribute?;
    }
    Ok(())
}

async fn pages_that_cannot_be_are_refused_before_anything_runs(
    session: &TestSession,
) -> Result<()> {
    let job = job(session).await?;
    let before = names(session.path(""))?;
    let page = session.path("no/job.html");
    let ended =
        Keyloom::on(session, ["explain", &job, "--analyze", "--html", &page]).await?.run().await?;
    ended.check_failure(2, &["--html ", ": there is no folder "]);
    let ended = Keyloom::on(session, ["explain", &job, "--html", "job.html"]).await?.run().await?;
    ended.check_failure(2, &["--analyze"]);
    assert_eq!(names(session.path(""))?, before);
    Ok(())
}

async fn a_job_file_says_whether_groups_are_by_keys_first(session: &TestSession) -> Result<()> {
    let job = job(session).await?;
    let text = fs::read_to_string(&job)?;
    let (sources, _) = text.split_once("[job]").context("a section")?;
    let sql = "SELECT kv_get(k, on_error => 'null')['name'] AS name, count(*) AS n FROM items \
               GROUP BY 1";
    for (choice, is_grouped) in [("never", false), ("always", true)] {
        fs::write(&job, format!("{sources}[job]\nsql = \"{sql}\"\ngroup_keys = '{choice}'"))?;
        let ended = Keyloom::on(session, ["explain", &job]).await?.run().await?;
        assert_eq!(ended.stdout()?.contains("rows of count"), is_grouped, "{ended:?}");
    }
    Ok(())
}
