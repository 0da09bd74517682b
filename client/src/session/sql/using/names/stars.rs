//! Writing out a star: as the stars of the tables, so that its columns come in their order.

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, ObjectName, ReplaceSelectElement, ReplaceSelectItem, SelectItem,
    SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};
use keyloom_common::{Error, Result};

use super::{
    super::{
        NAMELESS, quoted, refused,
        tables::{Table, column},
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
        let replaced = self.replaced(options.opt_replace.take())?;
        if self.tables.has_unknown && self.tables.has_outer {
            let what = "* beside outer and NATURAL JOINs, or JOIN … USING of many tables,";
            return Err(refused(what));
        }
        let others = WildcardAdditionalOptions { opt_exclude: None, ..options.clone() };
        let excluded = options.opt_exclude.as_ref();
        let excluded = excluded.map_or(Some(Vec::new()), |excluded| self.excluded(excluded));
        match excluded.filter(|_| others == WildcardAdditionalOptions::default()) {
            _ if self.tables.has_unknown => {
                options.opt_replace = (!replaced.is_empty()).then(|| replacements(replaced));
                written.push(SelectItem::Wildcard(options));
            }
            Some(excluded) => {
                for at in 0..self.tables.each.len() {
                    written.extend(self.changed(at, &excluded, &replaced).map(star).transpose()?);
                }
            }
            // Whose the columns are that are left out is not known.
            None => {
                options.opt_replace = Some(self.with_merged(replaced)?);
                written.push(SelectItem::Wildcard(options));
            }
        }
        Ok(())
    }

    /// The names under which the star of a table selects other columns than the merged ones, if
    /// they are known.
    pub(super) fn kept_by_star(
        &self,
        table: &SelectItemQualifiedWildcardKind,
        options: &WildcardAdditionalOptions,
    ) -> Option<Vec<String>> {
        let SelectItemQualifiedWildcardKind::ObjectName(name) = table else { return None };
        if *options != WildcardAdditionalOptions::default() {
            return None;
        }
        let path = self.known.parts(name)?;
        let is_merged = |name: &str| {
            let mut merged = self.tables.merged.iter().filter(|one| one.name == name);
            merged.any(|one| match &one.value {
                Some(Expr::CompoundIdentifier(parts)) => parts.starts_with(&path),
                _ => false,
            })
        };
        let columns = self.tables.columns_of(&path)?.iter();
        Some(columns.filter(|column| !is_merged(column.as_str())).cloned().collect())
    }

    /// What a star puts in the places of columns.
    fn replaced(&mut self, replace: Option<ReplaceSelectItem>) -> Result<Replaced> {
        let items = replace.map_or_else(Vec::new, |replace| replace.items);
        let written = items.into_iter().map(|item| -> Result<(String, Expr)> {
            let ReplaceSelectElement { mut expr, column_name, .. } = *item;
            self.write(&mut expr)?;
            Ok((self.known.name(&column_name), expr))
        });
        written.collect()
    }

    /// The names of columns that are left out, if it is known which tables have them, and that
    /// some have.
    fn excluded(&self, excluded: &ExcludeSelectItem) -> Option<Vec<String>> {
        let excluded = match excluded {
            ExcludeSelectItem::Single(name) => std::slice::from_ref(name),
            ExcludeSelectItem::Multiple(names) => names.as_slice(),
        };
        let names = excluded.iter().map(|name| self.known.single(name));
        let names: Vec<String> = names.collect::<Option<_>>()?;
        let is_shown = |name: &String| {
            let tables = 0..self.tables.each.len();
            let shown: Option<Vec<bool>> = tables.map(|at| self.tables.shows(at, name)).collect();
            shown.is_some_and(|shown| shown.contains(&true))
        };
        names.iter().all(is_shown).then_some(names)
    }

    /// A table of which more columns are left out and replaced. DataFusion ignores replacements of
    /// columns that it does not have, and refuses to leave such out.
    fn changed(
        &self,
        at: usize,
        excluded: &[String],
        replaced: &[(String, Expr)],
    ) -> Option<Table> {
        let mut table = self.tables.each.get(at)?.clone();
        let shown = |name: &&String| self.tables.shows(at, name) == Some(true);
        table.left_out.extend(excluded.iter().filter(shown).cloned());
        let Table { left_out, replaced: all, .. } = &mut table;
        for (name, expr) in replaced {
            all.retain(|(column, _)| column != name);
            all.push((name.clone(), expr.clone()));
        }
        all.retain(|(column, _)| !left_out.contains(column));
        Some(table)
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

/// The star of a table, with the columns that are merged into its own, and without those that are
/// merged into others.
fn star(table: Table) -> Result<SelectItem> {
    let path = table.path.ok_or_else(|| Error::invalid(NAMELESS))?;
    let left_out = table.left_out.into_iter();
    let left_out: Vec<_> = left_out.map(column).collect();
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
