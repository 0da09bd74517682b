//! A column of an open dataset: which files hold it, how wide it is, and what reading it in
//! blocks would have saved.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field as ArrowField},
};
use keyloom_common::{Error, Result};
use lance::datatypes::{Field, Schema};
use tokio::sync::OnceCell;

use super::{
    files::{blobs, direct::sole_file},
    handle::LanceHandle,
    identity::cache_name,
    layout::Layout,
    name::FileColumn,
    values::{answered, blocks::Cut, widths::Widths},
};

/// A top-level column. Names are compared whole: a dot in a name is no path.
#[derive(Debug)]
pub(super) struct Column {
    field: Field,
    /// The field as its values are read.
    stored: ArrowField,
    /// The field as its values are answered.
    answered: ArrowField,
    /// The ids of the field and of all below it.
    ids: Vec<i32>,
    /// Their ids and names, by which caches know the column.
    identity: Arc<str>,
    files: OnceLock<Vec<FileColumn>>,
    /// About what its values weigh, and how that cuts it into blocks.
    widths: OnceCell<(Arc<Widths>, Arc<Cut>)>,
    /// What having its blocks in memory would have saved so far, in nanoseconds.
    saved: AtomicU64,
}

impl Column {
    pub(super) fn new(field: &Field) -> Self {
        let (mut ids, mut identity) = (Vec::new(), String::new());
        let mut nested = vec![field];
        while let Some(field) = nested.pop() {
            ids.push(field.id);
            identity.push_str(&format!("{} {:?} ", field.id, field.name));
            nested.extend(&field.children);
        }
        let stored = ArrowField::from(field);
        Self {
            field: field.clone(),
            answered: answered::field(&stored),
            stored,
            ids,
            identity: identity.into(),
            files: OnceLock::new(),
            widths: OnceCell::new(),
            saved: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.field.name
    }

    pub(super) fn field(&self) -> &Field {
        &self.field
    }

    pub(super) fn field_id(&self) -> i32 {
        self.field.id
    }

    /// The ids of the field and of all below it.
    pub(super) fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// The ids and names of the field and of all below it.
    pub(super) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// The field as lookups answer it.
    pub(super) fn answered(&self) -> &ArrowField {
        &self.answered
    }

    /// Whether its values are answered as they are stored.
    pub(super) fn is_as_stored(&self) -> bool {
        self.stored.data_type() == self.answered.data_type()
    }

    /// Whether bytes of its blobs may lie apart from the data file.
    pub(super) fn has_bytes_apart(&self) -> bool {
        blobs::has_bytes_apart(&self.field)
    }

    /// Values that were read, as they are answered.
    pub(super) fn answer(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let answer = answered::answer(&self.stored, &self.answered, values);
        answer.map_err(|error| error.context(format_args!("column '{}'", self.name())))
    }

    /// Where the column of each fragment is kept.
    pub(super) fn in_fragments(&self, handle: &LanceHandle, layout: &Layout) -> &[FileColumn] {
        let all = || (0..layout.len()).map(|at| self.in_fragment(handle, layout.id(at))).collect();
        self.files.get_or_init(all)
    }

    /// A column that is in no one file is not shared with other versions.
    fn in_fragment(&self, handle: &LanceHandle, id: u32) -> FileColumn {
        let fragment = handle.stored_fragment(id);
        let file = match fragment.and_then(|fragment| sole_file(fragment, &self.ids)) {
            Some(file) => cache_name(&handle.dataset.manifest, &file.path),
            None => handle.versioned(id),
        };
        FileColumn { dataset: handle.uri.clone(), file, column: self.identity.clone() }
    }

    /// What having its blocks in memory would have saved with this, in nanoseconds.
    pub(super) fn save(&self, nanoseconds: u64) -> u64 {
        self.saved.fetch_add(nanoseconds, Ordering::Relaxed).saturating_add(nanoseconds)
    }

    /// About what its values weigh, and how it is cut into blocks.
    ///
    /// # Errors
    /// `store` if its files cannot be read.
    pub(super) async fn widths<'a>(
        self: &'a Arc<Self>,
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
    ) -> Result<&'a (Arc<Widths>, Arc<Cut>)> {
        let learn = || async {
            let widths = Widths::of(handle, layout, self).await?;
            let cut = Cut::new(&widths, layout, handle.settings.read_bytes as u64);
            Ok::<_, Error>((Arc::new(widths), Arc::new(cut)))
        };
        self.widths.get_or_try_init(learn).await
    }
}

/// The bytes of each value of a type of fixed width; a boolean counts as one.
pub(super) fn fixed_width(data_type: &DataType) -> Option<u64> {
    match data_type {
        DataType::Null => Some(0),
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(size) => Some(*size as u64),
        DataType::FixedSizeList(item, size) => Some(fixed_width(item.data_type())? * *size as u64),
        DataType::Struct(fields) => fields.iter().map(|f| fixed_width(f.data_type())).sum(),
        other => other.primitive_width().map(|width| width as u64),
    }
}

/// Columns as Lance projects them, in this order.
pub(super) fn projection<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Schema {
    let fields = columns.into_iter().map(|column| column.field.clone()).collect();
    Schema { fields, metadata: HashMap::new() }
}
