//! Inputs that are looked at once more, as a whole, before a job goes on that an earlier run of it
//! has read in part.

use std::collections::BTreeMap;

use keyloom_common::{
    Result,
    input::Layout,
    plan::{FileSlice, InputScanExec},
};

use super::{Inputs, lance, pinned::Pinned};

impl Inputs {
    /// Looks whether all that a scan reads is what it was when its job was submitted.
    ///
    /// # Errors
    /// `invalid` or `not_found`, naming what is not; or why it cannot be looked at.
    pub(crate) async fn check_unchanged(&self, scan: &InputScanExec) -> Result<()> {
        let table = scan.table();
        if let Layout::Lance(snapshot) = &table.layout {
            return self.lance.check_dataset(&lance::store(&table.location), *snapshot).await;
        }
        let slices = scan.partitions().iter().flat_map(|partition| &partition.slices);
        // Files are read in several parts.
        let files: BTreeMap<&str, &FileSlice> =
            slices.map(|slice| (slice.path.as_str(), slice)).collect();
        let files: Vec<FileSlice> = files.into_values().cloned().collect();
        self.check_slices(&table.location, &files)?.await?;
        let store = self.stores.get(&table.location)?;
        Pinned::new(store, &table.location, &files).look().await
    }
}
