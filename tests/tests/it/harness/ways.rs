//! Ways to the rows of Lance stores, to force.

use anyhow::{Context, Result};
use keyloom_client::{KeyPath, LanceOptions, RowPath};
use lance::{Dataset, index::DatasetIndexExt};
use lance_index::{IndexType, scalar::ScalarIndexParams};

use super::{Deployment, TestSession, products};

/// The ways that a session's Lance stores are looked up by; chosen by cost where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    keys: Option<KeyPath>,
    rows: Option<RowPath>,
}

impl Ways {
    pub(crate) const MAP_AND_TAKE: Self = Self::by(KeyPath::Map, RowPath::Take);
    pub(crate) const MAP_AND_SCAN: Self = Self::by(KeyPath::Map, RowPath::Scan);
    pub(crate) const SCAN_AND_TAKE: Self = Self::by(KeyPath::Scan, RowPath::Take);
    pub(crate) const BTREE_AND_SCAN: Self = Self::by(KeyPath::Btree, RowPath::Scan);

    const fn by(keys: KeyPath, rows: RowPath) -> Self {
        Self { keys: Some(keys), rows: Some(rows) }
    }

    /// An embedded session, as [`Deployment::session`] makes it, of these ways.
    pub(crate) async fn session(self) -> Result<TestSession> {
        Ok(TestSession { ways: self, ..Deployment::Embedded.session().await? })
    }

    /// Forces these ways on a store by a column, and the way to the rows on one by row ids or
    /// offsets. A dataset without the index that a way needs gets one; there is none on several
    /// columns.
    pub(super) async fn force(self, mut options: LanceOptions) -> Result<LanceOptions> {
        options.row_path = self.rows;
        let key = options.key.clone().context("the key is given")?;
        match (key.names(), self.keys) {
            ([key], _) if key.starts_with('_') => return Ok(options),
            ([key], Some(KeyPath::Btree)) => {
                let mut dataset = Dataset::open(&options.uri).await?;
                if dataset.load_indices().await?.is_empty() {
                    index(&mut dataset, key).await?;
                }
            }
            // There is no index on several columns.
            (_, Some(KeyPath::Btree)) => return Ok(options),
            _ => {}
        }
        options.key_path = self.keys;
        Ok(options)
    }
}

/// Makes a BTree index on a column.
pub(crate) async fn index(dataset: &mut Dataset, column: &str) -> Result<()> {
    let params = ScalarIndexParams::default();
    dataset.create_index(&[column], IndexType::BTree, None, &params, false).await?;
    Ok(())
}

#[tokio::test]
async fn sessions_look_stores_up_by_their_ways() -> Result<()> {
    let all = [
        (Ways::MAP_AND_TAKE, "map+take"),
        (Ways::MAP_AND_SCAN, "map+scan"),
        (Ways::SCAN_AND_TAKE, "scan+take"),
        (Ways::BTREE_AND_SCAN, "btree+scan"),
    ];
    for (ways, name) in all {
        let session = ways.session().await?;
        session.attach_lance("lance", products(), "id").await?;
        let query = session.sql("SELECT kv_get('a', source => 'lance')").await?;
        let plan = session.explain(query, false).await?;
        assert!(plan.contains(&format!(" via {name} (")), "{plan}");
        assert!(plan.contains("key path forced, row path forced)"), "{plan}");
    }
    Ok(())
}
