//! The catalog of a cluster, as the command shows and uses it.

use std::fs;

use anyhow::Result;

use super::{Ended, Keyloom};
use crate::cluster_catalog::Files;

const LOOK: &str = "SELECT n, kv_get(k, source => 'products', on_error => 'null')['name'] AS name \
                    FROM items WHERE n < 3 ORDER BY n";

const LOOKED: &str = "n,name\n1,apple\n2,\n";

#[tokio::test]
async fn commands_know_the_cluster_s_stores_and_say_whose_they_are() -> Result<()> {
    let files = Files::write().await?;
    let cluster = files.cluster(1).await?;
    let project = tempfile::tempdir()?;
    let run = async |arguments: &[&str]| -> Result<Ended> {
        let arguments = arguments.iter().copied().chain(["--cluster", &cluster.address]);
        Keyloom::new(arguments)?.within(&project).run().await
    };
    assert_eq!(run(&["sql", LOOK, "-o", "csv"]).await?.stdout()?, LOOKED);
    let current =
        ["sql", "SELECT kv_get('b')['name'] AS name", "-o", "csv", "--current", "products"];
    assert_eq!(run(&current).await?.stdout()?, "name\nbanana\n");
    let uri = files.path("products.lance");
    let listed = run(&["stores", "list"]).await?;
    let expected =
        format!("ALIAS     KIND   KEY  ORIGIN   SOURCE\nproducts  lance  id   cluster  {uri}\n");
    assert_eq!(listed.stdout()?, expected);
    let described = run(&["stores", "describe", "products", "-o", "json"]).await?;
    let described: serde_json::Value = serde_json::from_str(described.stdout()?)?;
    assert_eq!(described["origin"], "cluster");
    assert_eq!((&described["rows"], &described["source"]), (&3.into(), &uri.as_str().into()));
    let checked = run(&["stores", "check", "products"]).await?;
    for line in [format!("products  lance  {uri}\n"), "origin     cluster\n".to_owned()] {
        assert!(checked.stdout()?.contains(&line), "{checked:?}");
    }
    let unknown = run(&["stores", "describe", "product"]).await?;
    unknown.check_failure(2, &["there is no store 'product'; there are: products"]);

    // What the project's catalog calls so goes before.
    fs::write(project.path().join("items.csv"), "n,k\n1,b\n")?;
    let secret = files.path("secret.lance");
    let catalog = format!(
        "[inputs.items]\npath = 'items.csv'\n[stores.mine]\nkind = 'lance'\nuri = '{secret}'\n"
    );
    let path = project.path().join("keyloom.toml");
    fs::write(&path, catalog)?;
    assert_eq!(run(&["sql", LOOK, "-o", "csv"]).await?.stdout()?, "n,name\n1,banana\n");
    let listed = run(&["stores", "list", "-o", "json"]).await?;
    let listed: serde_json::Value = serde_json::from_str(listed.stdout()?)?;
    let origins = ["mine", "products"].iter().zip([0_usize, 1]).map(|(alias, at)| {
        assert_eq!(listed[at]["alias"], *alias);
        listed[at]["origin"].as_str().unwrap_or_default().to_owned()
    });
    let origins: Vec<_> = origins.collect();
    assert!(origins[0].ends_with("keyloom.toml") && origins[1] == "cluster", "{origins:?}");
    Ok(())
}

#[tokio::test]
async fn a_shell_knows_the_cluster_s_names() -> Result<()> {
    let files = Files::write().await?;
    let cluster = files.cluster(1).await?;
    let folder = tempfile::tempdir()?;
    let text = "SELECT count(*) AS n FROM products;\n.stores\n.tables\n";
    let shell = Keyloom::new(["shell", "-o", "csv", "--cluster", &cluster.address])?;
    let ended = shell.within(&folder).run_with(text).await?;
    let stdout = ended.stdout()?;
    for words in ["n\n3\n", "products  lance  id   cluster", "\nitems\n"] {
        assert!(stdout.contains(words), "no '{words}' in {stdout}");
    }
    Ok(())
}
