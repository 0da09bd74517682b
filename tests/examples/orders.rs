//! Orders with the names of their products.

use keyloom_client::{LanceOptions, OnError, Session, load_kv};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In this process; or Session::connect("tcp://127.0.0.1:7700") for a cluster.
    let session = Session::embedded().await?;
    let products = load_kv("products", LanceOptions::new("products.lance"))?;
    session.attach(products, "products").await?;

    let orders = session.read("orders.csv").await?;
    let product = session.kv_get("product_id").columns(["name"]).on_error(OnError::Null);
    let product = product.source("products").build()?;
    orders.with_column("product", product)?.show().await?;
    Ok(())
}
