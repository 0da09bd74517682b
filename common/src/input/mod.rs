//! Inputs of a job: how a user names files, and what a worker learns by looking at them.

mod description;
mod format;
mod places;
mod spec;
mod type_name;
mod union;
mod widen;
mod within;

pub use description::{
    Fingerprint, FragmentMark, InputDescription, InputFile, InputInspection, Piece,
};
pub use format::{CsvOptions, Format, Layout, is_compressed, is_tab_separated};
pub use spec::{InputSpec, JsonLayout, Location};
pub use type_name::parse_type;
pub use union::{union_schemas, unknown_columns};
pub use widen::widen;
pub use within::{FilesOfInput, is_hidden, name_fits};
pub(crate) use within::{is_no_name, take_apart};
