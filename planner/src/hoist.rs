//! Pulling calls out of expressions.
//!
//! The [`Hoister`] walks expressions from the top, knowing at each place which rows get there. It
//! replaces each call by a column and remembers what the column must hold. Calls that ask the same
//! become one.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    error::Result,
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{BinaryExpr, CaseExpr, Column},
    },
};
use keyloom_common::{
    Error,
    functions::{CHOOSE, Function, OnError},
    lookup::Answer,
    store::ResolvedStore,
};

use crate::{
    calls::{CallExpr, as_call, as_field_access, contains_call},
    guard::{Condition, Guard, is_not_null, is_null, is_place, is_true, matches},
};

type Expr = Arc<dyn PhysicalExpr>;

/// A call that was pulled out. Its key and guard may name columns of other calls.
#[derive(Debug)]
pub(crate) struct Hoisted {
    pub(crate) store: Arc<ResolvedStore>,
    pub(crate) key: Expr,
    pub(crate) answer: Answer,
    pub(crate) guard: Guard,
    pub(crate) batch_size: Option<std::num::NonZeroUsize>,
    /// Why a join asks it, if one does.
    pub(crate) joined: Option<String>,
}

/// Pulls calls out of the expressions of one node.
#[derive(Debug)]
pub(crate) struct Hoister {
    /// Columns of the node's input. The column of call `n` is `width + n` until waves are known.
    width: usize,
    prefix: usize,
    calls: Vec<Hoisted>,
}

impl Hoister {
    /// A hoister over an input of `width` columns. The answers' columns are numbered from `first`.
    pub(crate) fn new(width: usize, first: usize) -> Self {
        Self { width, prefix: first, calls: Vec::new() }
    }

    /// The name of a call's column.
    pub(crate) fn name(&self, call: usize) -> String {
        format!("__kv{}", self.prefix + call)
    }

    /// Replaces the calls in an expression that all rows reach.
    pub(crate) fn rewrite(&mut self, expr: &Expr) -> Result<Expr> {
        self.walk(expr, &Guard::default())
    }

    fn walk(&mut self, expr: &Expr, guard: &Guard) -> Result<Expr> {
        if !contains_call(expr)? {
            return Ok(Arc::clone(expr));
        }
        if let Some(call) = as_call(expr) {
            let answer = answer(&call, None);
            return self.call(&call, answer, guard);
        }
        if let Some(accessed) = self.field_access(expr, guard)? {
            return Ok(accessed);
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            return self.case(case, guard);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            match binary.op() {
                Operator::And => return self.second_if(expr, guard, Condition::NotFalse),
                Operator::Or => return self.second_if(expr, guard, Condition::NotTrue),
                _ => {}
            }
        }
        if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
            match function.name() {
                "nullif" => return self.second_if(expr, guard, is_not_null),
                "nvl" | "ifnull" => return self.second_if(expr, guard, is_null),
                "nvl2" => return self.nvl2(expr, guard),
                "coalesce" => return self.coalesce(expr, guard),
                "case" => return self.kept_case(expr, guard),
                CHOOSE => return self.choose(expr, guard),
                _ => {}
            }
        }
        let children = expr.children();
        let children = children.into_iter().map(|child| self.walk(child, guard));
        Arc::clone(expr).with_new_children(children.collect::<Result<_>>()?)
    }

    /// `kv_get(…)['name']` asks for that column alone.
    fn field_access(&mut self, expr: &Expr, guard: &Guard) -> Result<Option<Expr>> {
        let Some((structure, field)) = as_field_access(expr) else { return Ok(None) };
        let Some(call) = as_call(structure) else { return Ok(None) };
        let answer = answer(&call, Some(field));
        let column = self.call(&call, answer, guard)?;
        let mut children: Vec<_> = expr.children().into_iter().cloned().collect();
        children[0] = column;
        Arc::clone(expr).with_new_children(children).map(Some)
    }

    fn case(&mut self, case: &CaseExpr, guard: &Guard) -> Result<Expr> {
        // `CASE TRUE WHEN …` is how the analyzer writes a CASE that is to stay one.
        let operand = case.expr().filter(|operand| !is_true(operand));
        let operand = operand.map(|operand| self.walk(operand, guard)).transpose()?;
        let mut reached = guard.clone();
        let mut when_then = Vec::new();
        for (when, then) in case.when_then_expr() {
            let when = self.walk(when, &reached)?;
            let taken = matches(operand.as_ref(), &when)?;
            let then = self.walk(then, &reached.and(&Condition::True(Arc::clone(&taken))))?;
            reached = reached.and(&Condition::NotTrue(taken));
            when_then.push((when, then));
        }
        let otherwise = case.else_expr().map(|otherwise| self.walk(otherwise, &reached));
        Ok(Arc::new(CaseExpr::try_new(operand, when_then, otherwise.transpose()?)?))
    }

    /// An expression of two children whose second is needed where a condition on the first holds.
    fn second_if(
        &mut self,
        expr: &Expr,
        guard: &Guard,
        condition: impl Fn(Expr) -> Condition,
    ) -> Result<Expr> {
        let children: Vec<_> = expr.children().into_iter().cloned().collect();
        let first = self.walk(&children[0], guard)?;
        let second = self.walk(&children[1], &guard.and(&condition(Arc::clone(&first))))?;
        Arc::clone(expr).with_new_children(vec![first, second])
    }

    fn nvl2(&mut self, expr: &Expr, guard: &Guard) -> Result<Expr> {
        let children: Vec<_> = expr.children().into_iter().cloned().collect();
        let tested = self.walk(&children[0], guard)?;
        let some = self.walk(&children[1], &guard.and(&is_not_null(Arc::clone(&tested))))?;
        let none = self.walk(&children[2], &guard.and(&is_null(Arc::clone(&tested))))?;
        Arc::clone(expr).with_new_children(vec![tested, some, none])
    }

    fn coalesce(&mut self, expr: &Expr, guard: &Guard) -> Result<Expr> {
        let mut guard = guard.clone();
        let mut children = Vec::new();
        for child in expr.children() {
            let child = self.walk(child, &guard)?;
            guard = guard.and(&is_null(Arc::clone(&child)));
            children.push(child);
        }
        Arc::clone(expr).with_new_children(children)
    }

    /// A CASE that is kept as a function: of conditions, each with its value, and of what is left.
    fn kept_case(&mut self, expr: &Expr, guard: &Guard) -> Result<Expr> {
        let children: Vec<_> = expr.children().into_iter().cloned().collect();
        let mut reached = guard.clone();
        let mut rewritten = Vec::with_capacity(children.len());
        for branch in children.chunks(2) {
            let [when, then] = branch else {
                for otherwise in branch {
                    rewritten.push(self.walk(otherwise, &reached)?);
                }
                continue;
            };
            let when = self.walk(when, &reached)?;
            let then = self.walk(then, &reached.and(&Condition::True(Arc::clone(&when))))?;
            reached = reached.and(&Condition::NotTrue(Arc::clone(&when)));
            rewritten.extend([when, then]);
        }
        Arc::clone(expr).with_new_children(rewritten)
    }

    /// A choice: the place of an answer, and the answers, each where its place is chosen.
    fn choose(&mut self, expr: &Expr, guard: &Guard) -> Result<Expr> {
        let mut rewritten: Vec<Expr> = Vec::new();
        for (index, child) in expr.children().into_iter().enumerate() {
            let guard = match rewritten.first() {
                None => guard.clone(),
                Some(choice) => guard.and(&is_place(choice, index - 1)),
            };
            rewritten.push(self.walk(child, &guard)?);
        }
        Arc::clone(expr).with_new_children(rewritten)
    }

    /// Remembers a call and returns its column.
    fn call(&mut self, call: &CallExpr<'_>, answer: Answer, guard: &Guard) -> Result<Expr> {
        guard.exprs().try_for_each(|expr| refuse_volatile(expr, call.call.function()))?;
        let hoisted = Hoisted {
            store: Arc::clone(call.call.store()),
            key: self.walk(call.key, guard)?,
            answer,
            guard: guard.clone(),
            batch_size: call.call.batch_size(),
            joined: call.call.why_joined().map(|why| why.to_string()),
        };
        let index = self.add(hoisted)?;
        Ok(Arc::new(Column::new(&self.name(index), self.width + index)))
    }

    fn add(&mut self, new: Hoisted) -> Result<usize> {
        let mut rests_on = None;
        for index in 0..self.calls.len() {
            let old = &self.calls[index];
            if !same_question(old, &new)
                || old.answer != new.answer
                || old.batch_size != new.batch_size
            {
                continue;
            }
            if old.guard.includes(&new.guard) {
                self.calls[index].joined = self.calls[index].joined.take().or(new.joined);
                return Ok(index);
            }
            let rests_on = match &mut rests_on {
                Some(known) => known,
                none => none.insert(self.rests_on(&new)?),
            };
            if !rests_on[index] {
                self.calls[index].guard = old.guard.or(&new.guard);
                return Ok(index);
            }
        }
        self.calls.push(new);
        Ok(self.calls.len() - 1)
    }

    /// Lets calls ask for the rows that another call asks the same for anyway: the two then share a
    /// fetch, where the narrower guard might have put one of them into a later wave. To be called
    /// when all expressions are rewritten.
    pub(crate) fn share_fetches(&mut self) -> Result<()> {
        while let Some((index, wide)) = self.wider_call()? {
            let wider = self.calls[wide].guard.clone();
            let misses_none = self.misses_none(index, wide);
            let call = &mut self.calls[index];
            call.guard = wider;
            if misses_none {
                call.answer = call.answer.without_misses();
            }
        }
        Ok(())
    }

    /// A call that may ask for all the rows of another one, and that one.
    fn wider_call(&self) -> Result<Option<(usize, usize)>> {
        for (index, call) in self.calls.iter().enumerate() {
            for (wide, other) in self.calls.iter().enumerate() {
                // Rows of untaken branches must not count as misses.
                let counts_as_before = call.answer.on_missing().is_none()
                    || other.answer.on_missing().is_some()
                    || self.misses_none(index, wide);
                if counts_as_before && covers(other, call) && !self.rests_on(other)?[index] {
                    return Ok(Some((index, wide)));
                }
            }
        }
        Ok(None)
    }

    /// Whether a call is made only where another says that there is the key.
    fn misses_none(&self, call: usize, other: usize) -> bool {
        let exists: Expr = Arc::new(Column::new(&self.name(other), self.width + other));
        self.calls[other].answer == Answer::Exists && self.calls[call].guard.implies(&exists)
    }

    /// For each call, whether its answer is what the key or guard of this one rests on, directly or
    /// not.
    fn rests_on(&self, call: &Hoisted) -> Result<Vec<bool>> {
        let mut found = vec![false; self.calls.len()];
        let mut open = self.dependencies(call)?;
        while let Some(dependency) = open.pop() {
            if !std::mem::replace(&mut found[dependency], true) {
                open.extend(self.dependencies(&self.calls[dependency])?);
            }
        }
        Ok(found)
    }

    /// The calls whose answers a call's key and guard name.
    pub(crate) fn dependencies(&self, call: &Hoisted) -> Result<Vec<usize>> {
        let mut found = Vec::new();
        for expr in std::iter::once(&call.key).chain(call.guard.exprs()) {
            expr.apply(|node| {
                if let Some(column) = node.downcast_ref::<Column>()
                    && column.index() >= self.width
                {
                    found.push(column.index() - self.width);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(found)
    }

    /// The calls.
    pub(crate) fn calls(&self) -> &[Hoisted] {
        &self.calls
    }

    /// Moves the answers' columns to where `position` puts call `n`.
    pub(crate) fn place(&self, expr: &Expr, position: &[usize]) -> Result<Expr> {
        let place = |node: Expr| {
            let Some(column) = node.downcast_ref::<Column>().filter(|c| c.index() >= self.width)
            else {
                return Ok(Transformed::no(node));
            };
            let index = self.width + position[column.index() - self.width];
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as Expr))
        };
        Ok(Arc::clone(expr).transform(place)?.data)
    }
}

fn same_question(one: &Hoisted, other: &Hoisted) -> bool {
    one.store == other.store && one.key.eq(&other.key)
}

/// Whether a call asks for all the rows of another and more, and asking for more rows on behalf of
/// the other cannot fail where it would not have.
fn covers(wide: &Hoisted, narrow: &Hoisted) -> bool {
    let on_missing = |call: &Hoisted| call.answer.on_missing();
    // A bound on missing keys is of its call's own rows.
    let may_fail = on_missing(narrow).is_some_and(|on_error| !on_error.never_fails());
    same_question(wide, narrow)
        && wide.guard.includes(&narrow.guard)
        && !narrow.guard.includes(&wide.guard)
        && (!may_fail || on_missing(wide) == Some(OnError::Raise))
}

fn answer(call: &CallExpr<'_>, only: Option<&str>) -> Answer {
    if call.call.function() == Function::Exists {
        return Answer::Exists;
    }
    let mut columns = call.call.column_indices();
    if let Some(only) = only {
        columns.retain(|&column| call.call.store().schema().field(column).name() == only);
    }
    let on_error = call.call.on_error();
    match call.call.function() {
        Function::GetAll => Answer::All { columns, on_error },
        _ => Answer::Row { columns, on_error },
    }
}

/// A guard is computed apart from the expression that it guards, so both must see the same values.
fn refuse_volatile(condition: &Expr, function: Function) -> Result<()> {
    condition.apply(|node| {
        if node.is_volatile_node() {
            return Err(Error::invalid(format!(
                "whether {} is called depends on {node}, which changes with every call; compute \
                 it in a subquery first",
                function.name()
            ))
            .into());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
