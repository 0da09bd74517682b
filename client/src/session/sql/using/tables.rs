//! The tables of a FROM, and the columns that USING makes of theirs.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor,
    TableWithJoins,
};
use keyloom_common::{Error, Result};

use super::{
    NAMELESS, has_outer,
    merged::{Kind, Merged, Pair, condition},
    names, quoted, refused,
};
use crate::session::key::KeyReader;

/// Tables that are joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) each: Vec<Table>,
    pub(super) merged: Vec<Merged>,
    /// Whether some table's star may hold a column that a join has merged with another one.
    pub(super) has_unknown: bool,
    /// Whether names without a table may be columns of a NATURAL join that are null on one side.
    pub(super) hides_names: bool,
}

/// A table of FROM.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// What its columns are qualified by, if it has a name.
    pub(super) path: Option<Vec<Ident>>,
    /// Columns that are merged into another table's.
    pub(super) left_out: Vec<String>,
    /// What stands in the place of others.
    pub(super) replaced: Vec<(String, Expr)>,
}

impl Tables {
    /// The tables of one item of FROM, whose joins are written so that DataFusion compares the
    /// columns that are meant.
    pub(super) fn read(from: &mut TableWithJoins, reader: KeyReader) -> Result<Self> {
        let mut all = Self::of(&mut from.relation, reader)?;
        for Join { relation, join_operator, .. } in &mut from.joins {
            if reads_others(relation) {
                names::write_within(&all, reader, relation)?;
            }
            let right = Self::of(relation, reader)?;
            all = all.joined(right, join_operator, reader)?;
        }
        Ok(all)
    }

    fn of(table: &mut TableFactor, reader: KeyReader) -> Result<Self> {
        let called = |alias: &TableAlias| vec![quoted(reader.name(&alias.name))];
        let path = match table {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                return Self::read(table_with_joins, reader);
            }
            TableFactor::NestedJoin { table_with_joins, alias: Some(alias) } => {
                if has_outer(table_with_joins) {
                    return Err(refused("an alias of joined tables with an outer JOIN … USING"));
                }
                Some(called(alias))
            }
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. } => Some(called(alias)),
            TableFactor::Table { name, args: None, .. } => {
                let parts = name.0.iter();
                parts.map(|part| Some(quoted(reader.name(part.as_ident()?)))).collect()
            }
            _ => None,
        };
        let table = Table { path, left_out: Vec::new(), replaced: Vec::new() };
        Ok(Self { each: vec![table], ..Self::default() })
    }

    /// The same tables and others, with no column merged.
    pub(super) fn beside(mut self, other: Self) -> Self {
        let before = self.each.len();
        self.each.extend(other.each);
        let moved = other.merged.into_iter().map(|one| Merged { table: one.table + before, ..one });
        self.merged.extend(moved);
        self.has_unknown |= other.has_unknown;
        self.hides_names |= other.hides_names;
        self
    }

    fn joined(self, right: Self, operator: &mut JoinOperator, reader: KeyReader) -> Result<Self> {
        let (kind, constraint) = Kind::of(operator);
        let Some(constraint) = constraint else { return Ok(self.beside(right)) };
        let is_hidden = self.hides_names || right.hides_names;
        match constraint {
            // DataFusion would compare the left side's column.
            JoinConstraint::Using(_) | JoinConstraint::Natural if is_hidden => {
                Err(refused("a JOIN … USING or NATURAL beside a NATURAL RIGHT or FULL JOIN"))
            }
            JoinConstraint::Using(columns) => {
                let names: Option<Vec<_>> =
                    columns.iter().map(|name| single(name, reader)).collect();
                // DataFusion refuses the others.
                let Some(names) = names else { return Ok(self.beside(right)) };
                let (joined, condition) = self.merged_with(right, kind, &names)?;
                if let Some(condition) = condition {
                    *constraint = JoinConstraint::On(condition);
                }
                Ok(joined)
            }
            JoinConstraint::Natural => self.natural(right, kind),
            JoinConstraint::On(condition) => {
                let all = self.clone().beside(right.clone());
                names::write_within(&all, reader, condition)?;
                Ok(self.left_of(right, kind))
            }
            JoinConstraint::None => Ok(self.left_of(right, kind)),
        }
    }

    /// The tables whose columns a join leaves.
    fn left_of(self, right: Self, kind: Kind) -> Self {
        match kind {
            Kind::LeftAlone => self,
            Kind::RightAlone => right,
            _ => self.beside(right),
        }
    }

    fn natural(self, right: Self, kind: Kind) -> Result<Self> {
        if self.merged.iter().chain(&right.merged).any(|one| !one.is_plain) {
            return Err(refused("a NATURAL JOIN beside an outer JOIN … USING"));
        }
        let hides_names = matches!(kind, Kind::Right | Kind::Full);
        let mut all = self.left_of(right, kind);
        all.has_unknown = true;
        all.hides_names |= hides_names;
        Ok(all)
    }

    /// The tables with these columns merged, and the condition of the join where DataFusion would
    /// compare others.
    fn merged_with(
        self,
        right: Self,
        kind: Kind,
        names: &[String],
    ) -> Result<(Self, Option<Expr>)> {
        let pair =
            |name: &String| Some(Pair { left: self.owner(name)?, right: right.owner(name)? });
        let pairs: Option<Vec<_>> = names.iter().map(pair).collect();
        let Some(pairs) = pairs else {
            return Ok((self.merged_into_some(right, kind, names)?, None));
        };
        let condition = match pairs.iter().all(Pair::is_plain) {
            true => None,
            false => condition(&pairs)?,
        };
        if matches!(kind, Kind::LeftAlone | Kind::RightAlone) {
            return Ok((self.left_of(right, kind), condition));
        }
        let before = self.each.len();
        let mut all = self.beside(right);
        for pair in pairs {
            all.merge(pair.merged(kind), pair.right.table + before, kind)?;
        }
        Ok((all, condition))
    }

    /// The tables with these columns merged into those of one of several tables on the left.
    fn merged_into_some(self, right: Self, kind: Kind, names: &[String]) -> Result<Self> {
        let is_meant = |name: &String| {
            let mut merged = self.merged.iter().chain(&right.merged);
            merged.all(|one| one.name != *name || one.is_plain)
        };
        if matches!(kind, Kind::Right | Kind::Full) || !names.iter().all(is_meant) {
            return Err(refused(
                "an outer JOIN … USING of a column that one of several tables has",
            ));
        }
        let (before, is_one) = (self.each.len(), right.each.len() == 1);
        let mut all = self.left_of(right, kind);
        match all.each.get_mut(before) {
            Some(Table { path: None, .. }) => return Err(Error::invalid(NAMELESS)),
            Some(table) if is_one => table.left_out.extend_from_slice(names),
            // Nothing is left of the right side.
            None => {}
            Some(_) => all.has_unknown = true,
        }
        Ok(all)
    }

    /// Puts a column in the place of the left side's, and of the right side's, which is in this
    /// table.
    fn merge(&mut self, merged: Merged, right: usize, kind: Kind) -> Result<()> {
        let name = &merged.name;
        let is_other =
            |one: &Merged| one.name != *name || (one.table != merged.table && one.table != right);
        self.merged.retain(is_other);
        if let Some(table) = self.each.get_mut(right) {
            // DataFusion would take the name for its column.
            if table.path.is_none() {
                return Err(Error::invalid(NAMELESS));
            }
            table.replaced.retain(|(column, _)| column != name);
            table.left_out.push(name.clone());
        }
        if matches!(kind, Kind::Right | Kind::Full)
            && let Some(table) = self.each.get_mut(merged.table)
        {
            table.replaced.retain(|(column, _)| column != name);
            table.replaced.push((name.clone(), merged.value()?.clone()));
        }
        self.merged.push(merged);
        Ok(())
    }

    /// The column of a name, if it is known whose it is.
    fn owner(&self, name: &str) -> Option<Merged> {
        let mut merged = self.merged.iter().filter(|one| one.name == name);
        match (merged.next(), merged.next(), self.each.as_slice()) {
            (Some(one), None, _) => Some(one.clone()),
            (None, _, [table]) => {
                let column = |path: &Vec<Ident>| {
                    let column = quoted(name.to_owned());
                    Expr::CompoundIdentifier(path.iter().cloned().chain([column]).collect())
                };
                let value = table.path.as_ref().map(column);
                let name = name.to_owned();
                Some(Merged { name, table: 0, value, is_plain: true, is_own: true })
            }
            _ => None,
        }
    }
}

/// Whether a table is made of columns of those before it.
fn reads_others(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table { args, .. } => args.is_some(),
        TableFactor::Derived { lateral, .. } => *lateral,
        TableFactor::NestedJoin { .. } => false,
        _ => true,
    }
}

/// The name of a column that stands without a table.
pub(super) fn single(name: &ObjectName, reader: KeyReader) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(|ident| reader.name(ident)),
        _ => None,
    }
}
