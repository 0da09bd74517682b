//! What stands in a request, as the API's description has it. Others read it: see
//! [`keyloom_common::described`]. A test holds that the names are the same.

#![allow(dead_code, reason = "the derived descriptions alone look at the fields")]

use std::{borrow::Cow, collections::BTreeMap};

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, SchemaType, Type},
    },
};

use super::words::{CompressionDescribed, FormatDescribed, ModeDescribed, OutputFormatDescribed};

/// An input: a file, a folder or a glob, or a Lance dataset, and how it is read.
#[derive(ToSchema)]
#[schema(as = Input)]
#[serde(deny_unknown_fields)]
pub(super) struct InputDescribed {
    /// An absolute path of the workers, or a URL that they can open. Also called `uri`.
    path: Option<String>,
    /// The same as `path`.
    uri: Option<String>,
    /// The format; by the names' endings if absent. Also called `kind`.
    format: Option<FormatDescribed>,
    /// The same as `format`.
    kind: Option<FormatDescribed>,
    /// The types of some columns or of all, by SQL's names or Arrow's.
    columns: Option<ColumnsDescribed>,
    /// CSV: the character between values.
    delimiter: Option<String>,
    /// CSV: the character around values that hold delimiters or line breaks.
    quote: Option<String>,
    /// CSV: the character before a quote within quotes.
    escape: Option<String>,
    /// CSV: the character at the start of lines that are passed over.
    comment: Option<String>,
    /// CSV: whether the first line of each file names the columns.
    header: Option<bool>,
    /// CSV: words that mean null, beside the empty one.
    nulls: Option<Vec<String>>,
    /// CSV and JSON: how many bytes columns and their types are learnt from.
    infer_bytes: Option<SizeDescribed>,
    /// The name of a profile in the workers' settings with options for the object store.
    storage_options: Option<String>,
    /// Whether folders that are called `name=value` are columns.
    hive_partitioning: Option<bool>,
    /// Lance: the version to read; the newest if absent.
    version: Option<u64>,
    /// Lance: the tag to read, instead of a version.
    tag: Option<String>,
}

/// Types by the names of columns, or pairs of a name and a type, in order.
#[derive(ToSchema)]
#[schema(as = Columns)]
#[serde(untagged)]
enum ColumnsDescribed {
    ByName(BTreeMap<String, String>),
    InOrder(Vec<Vec<String>>),
}

/// A store: its kind, where it is, its key, and other options of that kind.
#[derive(ToSchema)]
#[schema(as = Store)]
pub(super) struct StoreDescribed {
    /// The kind: `lance`, `memory` (an input whose rows the job holds), or one that the workers
    /// know.
    kind: String,
    /// An absolute path of the workers, or a URL that they can open. Also called `path`.
    uri: Option<String>,
    /// The same as `uri`, of the kinds `lance` and `memory`.
    path: Option<String>,
    /// The column or the columns that hold the keys.
    key: Option<KeyDescribed>,
    #[serde(flatten)]
    options: BTreeMap<String, serde_json::Value>,
}

/// An output: a folder or a Lance dataset, and how workers write it.
#[derive(ToSchema)]
#[schema(as = Output)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputDescribed {
    /// An absolute path of the workers, or a URL that they can open. Also called `uri`.
    path: Option<String>,
    /// The same as `path`.
    uri: Option<String>,
    /// The format. Default Lance for names that end in `.lance`, else Parquet.
    format: Option<OutputFormatDescribed>,
    /// What becomes of what is there. Default `error`.
    if_exists: Option<ModeDescribed>,
    /// Lance, with `if_exists = "upsert"`: the columns that tell rows apart.
    key: Option<KeyDescribed>,
    /// Files: columns whose values stand in the names of folders.
    partition_by: Option<Vec<String>>,
    /// About the most bytes of a file.
    target_file_bytes: Option<SizeDescribed>,
    /// Files: how they are compressed.
    compression: Option<CompressionDescribed>,
    /// The name of a profile in the workers' settings with options for the object store.
    storage_options: Option<String>,
}

/// The columns of a key: a name, or a list of names.
#[derive(ToSchema)]
#[schema(as = Key)]
#[serde(untagged)]
enum KeyDescribed {
    One(String),
    Several(Vec<String>),
}

/// A number of bytes, or a text with a unit, as `64MiB`.
#[derive(ToSchema)]
#[schema(as = Size)]
#[serde(untagged)]
enum SizeDescribed {
    Bytes(u64),
    WithUnit(String),
}

/// A number of rows, or a share of them, as `1%`.
#[derive(ToSchema)]
#[schema(as = MaxMisses)]
#[serde(untagged)]
pub(super) enum MissesDescribed {
    Rows(u64),
    Share(String),
}

/// The value of a placeholder.
pub(super) struct ValueDescribed;

impl PartialSchema for ValueDescribed {
    /// A whole number is a number, too, so that it is not one of several. Without a word for it,
    /// generated clients make 2.0 of 2.
    fn schema() -> RefOr<Schema> {
        let types = [Type::String, Type::Integer, Type::Number, Type::Boolean];
        let value = ObjectBuilder::new().schema_type(SchemaType::from_iter(types));
        value.description(Some("The value of a placeholder.")).into()
    }
}

impl ToSchema for ValueDescribed {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Value")
    }
}
