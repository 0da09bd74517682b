//! The tables of a FROM, and the columns that USING makes of theirs.

mod columns;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, TableFactor, TableWithJoins, Value,
};
use keyloom_common::{Error, Result};

use super::{
    NAMELESS,
    known::{Columns, Known},
    merged::{Kind, Merged, Pair, condition, constraint},
    names, quoted, refused,
};

/// Tables that are joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) each: Vec<Table>,
    pub(super) merged: Vec<Merged>,
    /// Whether a join that merges columns is an outer one.
    pub(super) has_outer: bool,
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
    pub(super) columns: Columns,
    /// Columns that are merged into another table's.
    pub(super) left_out: Vec<String>,
    /// What stands in the place of others.
    pub(super) replaced: Vec<(String, Expr)>,
}

impl Tables {
    /// The tables of one item of FROM, whose joins are written so that DataFusion compares the
    /// columns that are meant.
    pub(super) fn read(from: &mut TableWithJoins, known: &Known) -> Result<Self> {
        let mut all = Self::of(&mut from.relation, known)?;
        for Join { relation, join_operator, .. } in &mut from.joins {
            if reads_others(relation) {
                names::write_within(&all, known, relation)?;
            }
            let right = Self::of(relation, known)?;
            all = all.joined(right, join_operator, known)?;
        }
        Ok(all)
    }

    fn of(table: &mut TableFactor, known: &Known) -> Result<Self> {
        if let TableFactor::NestedJoin { table_with_joins, alias } = table {
            let joined = Self::read(table_with_joins, known)?;
            if alias.is_none() {
                return Ok(joined);
            }
            if joined.has_outer {
                return Err(refused("an alias of joined tables with an outer JOIN … USING"));
            }
        }
        let (path, columns) = (known.path(table), known.columns(table));
        let table = Table { path, columns, left_out: Vec::new(), replaced: Vec::new() };
        Ok(Self { each: vec![table], ..Self::default() })
    }

    /// The same tables and others, with no column merged.
    pub(super) fn beside(mut self, other: Self) -> Self {
        let before = self.each.len();
        self.each.extend(other.each);
        let moved = other.merged.into_iter().map(|one| Merged { table: one.table + before, ..one });
        self.merged.extend(moved);
        self.has_outer |= other.has_outer;
        self.has_unknown |= other.has_unknown;
        self.hides_names |= other.hides_names;
        self
    }

    fn joined(self, right: Self, operator: &mut JoinOperator, known: &Known) -> Result<Self> {
        let kind = Kind::of(operator);
        let Some(constraint) = constraint(operator) else { return Ok(self.beside(right)) };
        if matches!(constraint, JoinConstraint::Natural)
            && let Some(common) = self.common(&right)
        {
            *constraint = match common.is_empty() {
                false => JoinConstraint::Using(common.into_iter().map(column).collect()),
                // All rows are joined with all.
                true if kind.is_outer() => JoinConstraint::On(Expr::value(Value::Boolean(true))),
                true => JoinConstraint::None,
            };
        }
        let is_hidden = self.hides_names || right.hides_names;
        match constraint {
            // DataFusion would compare the left side's column.
            JoinConstraint::Using(_) | JoinConstraint::Natural if is_hidden => {
                Err(refused("a JOIN … USING or NATURAL beside a NATURAL RIGHT or FULL JOIN"))
            }
            JoinConstraint::Using(columns) => {
                let names: Option<Vec<_>> = columns.iter().map(|name| known.single(name)).collect();
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
                names::write_within(&all, known, condition)?;
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
            return Err(refused("a NATURAL JOIN beside an outer JOIN … USING, or several,"));
        }
        let hides_names = matches!(kind, Kind::Right | Kind::Full);
        let mut all = self.left_of(right, kind);
        all.has_outer |= kind.is_outer();
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
        all.has_outer |= kind.is_outer();
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
            return Err(refused("a JOIN … USING of a column that one of several tables has"));
        }
        let (before, is_one) = (self.each.len(), right.each.len() == 1);
        let mut all = self.left_of(right, kind);
        all.has_outer |= kind.is_outer();
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

/// The name of a column alone.
pub(super) fn column(name: String) -> ObjectName {
    ObjectName::from(vec![quoted(name)])
}
