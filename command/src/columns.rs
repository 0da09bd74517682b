//! Answers in columns, for people.

/// Rows below a head, each column as wide as its widest cell. Nothing stands behind the last.
pub(crate) fn columns<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let head = head.map(ToOwned::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = vec![["1".to_owned(), "naïve".to_owned()], ["100".to_owned(), String::new()]];
        assert_eq!(columns(["ID", "NAME"], rows), "ID   NAME\n1    naïve\n100");
    }
}
