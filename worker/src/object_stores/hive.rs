//! Names of folders that hold values, `name=value`, as Hive, Spark, DuckDB and pandas write and
//! read them.

/// What all of them write for null.
pub(crate) const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Characters that Hive and Spark escape beside control characters: the same as theirs, so that the
/// folders of one value are the same whoever writes them. Others stay as they are, for not all
/// readers take escaped bytes together to characters.
const ESCAPED: &str = "\"#%'*/:=?\\{}[]^";

/// A name or a value as a part of a folder's name.
pub(crate) fn escape(text: &str, folder: &mut String) {
    for c in text.chars() {
        match c.is_ascii_control() || ESCAPED.contains(c) {
            true => folder.push_str(&format!("%{:02X}", u32::from(c))),
            false => folder.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;

    use super::*;

    #[test]
    fn what_is_escaped_is_what_hive_escapes_and_reads_back() {
        let mut folder = String::new();
        escape("a b/c=ü:%~\u{7}", &mut folder);
        assert_eq!(folder, "a b%2Fc%3Dü%3A%25~%07");
        assert_eq!(percent_decode_str(&folder).decode_utf8().unwrap(), "a b/c=ü:%~\u{7}");
    }
}
