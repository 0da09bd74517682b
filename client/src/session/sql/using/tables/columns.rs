//! Whose a column of joined tables is, as far as their columns are known.

use datafusion::sql::sqlparser::ast::{Expr, Ident};

use super::{
    super::{known::Columns, merged::Merged, quoted},
    Tables,
};

impl Tables {
    /// The column of a name, if it is known whose it is.
    pub(super) fn owner(&self, name: &str) -> Option<Merged> {
        let mut merged = self.merged.iter().filter(|one| one.name == name);
        match (merged.next(), merged.next()) {
            (Some(one), None) => Some(one.clone()),
            (None, _) => {
                let table = self.only_one_with(name)?;
                let path = self.each.get(table)?.path.as_ref();
                let value = path.map(|path| {
                    let column = quoted(name.to_owned());
                    Expr::CompoundIdentifier(path.iter().cloned().chain([column]).collect())
                });
                let name = name.to_owned();
                Some(Merged { name, table, value, is_plain: true, is_own: true })
            }
            _ => None,
        }
    }

    /// The one table that may have a column, if it is known that no other has it.
    fn only_one_with(&self, name: &str) -> Option<usize> {
        if self.each.len() == 1 {
            return Some(0);
        }
        let mut only = None;
        for at in 0..self.each.len() {
            if self.shows(at, name)? && only.replace(at).is_some() {
                return None;
            }
        }
        only
    }

    /// Whether the star of a table has a column, if that is known.
    pub(in super::super) fn shows(&self, at: usize, name: &str) -> Option<bool> {
        let table = self.each.get(at)?;
        if table.left_out.iter().any(|column| column == name) {
            return Some(false);
        }
        if self.merged.iter().any(|one| one.name == name && one.table == at) {
            return Some(true);
        }
        Some(table.columns.as_ref()?.iter().any(|column| column == name))
    }

    /// The columns of the table that is called so, if they are known.
    pub(in super::super) fn columns_of(&self, path: &[Ident]) -> Option<&Vec<String>> {
        self.each.iter().find(|table| table.path.as_deref() == Some(path))?.columns.as_ref()
    }

    /// The columns that both sides have, if they are known.
    pub(super) fn common(&self, right: &Self) -> Option<Vec<String>> {
        let (left, right) = (self.columns()?, right.columns()?);
        let mut common: Vec<String> = Vec::new();
        for column in left {
            if right.contains(&column) && !common.contains(&column) {
                common.push(column);
            }
        }
        Some(common)
    }

    /// All columns, if they are known.
    fn columns(&self) -> Columns {
        if self.has_unknown {
            return None;
        }
        let mut all = Vec::new();
        for table in &self.each {
            let columns = table.columns.as_ref()?.iter();
            all.extend(columns.filter(|column| !table.left_out.contains(column)).cloned());
        }
        Some(all)
    }
}
