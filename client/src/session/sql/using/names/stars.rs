//! Writing out a star: as the stars of the tables, so that its columns come in their order.

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, ObjectName, ReplaceSelectElement, ReplaceSelectItem, SelectItem,
    SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};
use keyloom_common::{Error, Result};

use super::{
    super::{
        NAMELESS, quoted, refused,
        tables::{Table, single},
    },
    Names,
};

/// Columns by name, and what stands in their places.
type Replaced = Vec<(String, Expr)>;

impl Names<'_> {
    /// What becomes of a star that may leave out or replace columns.
    pub(super) fn write_star(
        &mut self,
        mut options: WildcardAdditionalOptions,
        written: &mut Vec<SelectItem>,
    ) -> Result<()> {
        if self.tables.has_unknown {
            let what = "* beside outer and NATURAL JOINs, or JOIN … USING of many tables,";
            return Err(refused(what));
        }
        let replaced = self.replaced(options.opt_replace.take())?;
        let others = WildcardAdditionalOptions { opt_exclude: None, ..options.clone() };
        let excluded = options.opt_exclude.as_ref();
        match excluded.map_or(Some(Vec::new()), |excluded| self.merged_everywhere(excluded)) {
            Some(excluded) if others == WildcardAdditionalOptions::default() => {
                for table in &self.tables.each {
                    written.push(star(changed(table.clone(), &excluded, &replaced))?);
                }
            }
            // Whose the columns are that are left out is not known.
            _ => {
                options.opt_replace = Some(self.with_merged(replaced)?);
                written.push(SelectItem::Wildcard(options));
            }
        }
        Ok(())
    }

    /// What a star puts in the places of columns.
    fn replaced(&mut self, replace: Option<ReplaceSelectItem>) -> Result<Replaced> {
        let items = replace.map_or_else(Vec::new, |replace| replace.items);
        let written = items.into_iter().map(|item| -> Result<(String, Expr)> {
            let ReplaceSelectElement { mut expr, column_name, .. } = *item;
            self.write(&mut expr)?;
            Ok((self.reader.name(&column_name), expr))
        });
        written.collect()
    }

    /// The names of columns that are left out, if no table has one of them that is not merged.
    fn merged_everywhere(&self, excluded: &ExcludeSelectItem) -> Option<Vec<String>> {
        let excluded = match excluded {
            ExcludeSelectItem::Single(name) => std::slice::from_ref(name),
            ExcludeSelectItem::Multiple(names) => names.as_slice(),
        };
        let names = excluded.iter().map(|name| single(name, self.reader));
        let names: Vec<String> = names.collect::<Option<_>>()?;
        let is_in = |name: &String, at: usize, table: &Table| {
            let mut merged = self.tables.merged.iter();
            table.left_out.contains(name) || merged.any(|one| one.name == *name && one.table == at)
        };
        let is_merged = |name: &String| {
            let mut tables = self.tables.each.iter().enumerate();
            tables.all(|(at, table)| is_in(name, at, table))
        };
        names.iter().all(is_merged).then_some(names)
    }

    /// What a star replaces, and the merged columns.
    fn with_merged(&self, mut replaced: Replaced) -> Result<ReplaceSelectItem> {
        for merged in &self.tables.merged {
            if replaced.iter().any(|(name, _)| *name == merged.name) {
                continue;
            }
            let expr = match merged.is_plain {
                true => Expr::Identifier(quoted(merged.name.clone())),
                false => merged.value()?.clone(),
            };
            replaced.push((merged.name.clone(), expr));
        }
        Ok(replacements(replaced))
    }
}

/// A table of which more columns are left out and replaced. DataFusion ignores replacements of
/// columns that it does not have.
fn changed(mut table: Table, excluded: &[String], replaced: &[(String, Expr)]) -> Table {
    for name in excluded {
        if !table.left_out.contains(name) {
            table.left_out.push(name.clone());
        }
    }
    let Table { left_out, replaced: all, .. } = &mut table;
    for (name, expr) in replaced {
        all.retain(|(column, _)| column != name);
        all.push((name.clone(), expr.clone()));
    }
    all.retain(|(column, _)| !left_out.contains(column));
    table
}

/// The star of a table, with the columns that are merged into its own, and without those that are
/// merged into others.
fn star(table: Table) -> Result<SelectItem> {
    let path = table.path.ok_or_else(|| Error::invalid(NAMELESS))?;
    let left_out = table.left_out.into_iter();
    let left_out: Vec<_> = left_out.map(|name| ObjectName::from(vec![quoted(name)])).collect();
    let options = WildcardAdditionalOptions {
        opt_exclude: (!left_out.is_empty()).then_some(ExcludeSelectItem::Multiple(left_out)),
        opt_replace: (!table.replaced.is_empty()).then(|| replacements(table.replaced)),
        ..WildcardAdditionalOptions::default()
    };
    let path = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(path));
    Ok(SelectItem::QualifiedWildcard(path, options))
}

fn replacements(replaced: Replaced) -> ReplaceSelectItem {
    let element = |(name, expr)| {
        Box::new(ReplaceSelectElement { expr, column_name: quoted(name), as_keyword: true })
    };
    ReplaceSelectItem { items: replaced.into_iter().map(element).collect() }
}
