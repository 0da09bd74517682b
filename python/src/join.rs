//! Joins of frames: which columns come out, and under which names.

use std::collections::BTreeSet;

use datafusion::{
    common::{Column, JoinType},
    dataframe::DataFrame,
    functions::core::expr_fn::coalesce,
    logical_expr::{Expr, LogicalPlanBuilder},
};
use keyloom_common::{Error, Result};

use crate::frame::columns;

const LEFT: &str = "left";
const RIGHT: &str = "right";

/// The ways to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Equal(JoinType),
    Cross,
}

impl How {
    pub(crate) fn parse(word: &str) -> Result<Self> {
        Ok(Self::Equal(match word {
            "inner" => JoinType::Inner,
            "left" => JoinType::Left,
            "right" => JoinType::Right,
            "outer" => JoinType::Full,
            "semi" => JoinType::LeftSemi,
            "anti" => JoinType::LeftAnti,
            "cross" => return Ok(Self::Cross),
            other => {
                return Err(Error::invalid(format!(
                    "how is one of inner, left, right, outer, semi, anti and cross, not '{other}'"
                )));
            }
        }))
    }

    fn keeps_right(self) -> bool {
        !matches!(self, Self::Equal(JoinType::LeftSemi | JoinType::LeftAnti))
    }
}

/// The keys of both sides, and what is added to names that are taken.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    pub(crate) left: Vec<String>,
    pub(crate) right: Vec<String>,
    pub(crate) prefix: &'a str,
    pub(crate) suffix: &'a str,
}

impl Names<'_> {
    /// Whether both sides call a key alike: it then comes out once.
    fn is_shared(&self, name: &str) -> bool {
        self.left.iter().zip(&self.right).any(|(left, right)| left == name && right == name)
    }
}

pub(crate) fn join(
    left: DataFrame,
    right: DataFrame,
    names: &Names<'_>,
    how: How,
) -> Result<DataFrame> {
    check(&left, &names.left)?;
    check(&right, &names.right)?;
    let (left, right) = (left.alias(LEFT)?, right.alias(RIGHT)?);
    let outputs = outputs(&left, &right, names, how)?;
    let (state, left) = left.into_parts();
    let right = right.into_unoptimized_plan();
    let builder = LogicalPlanBuilder::from(left);
    let keys = |side: &str, names: &[String]| {
        names.iter().map(|name| Column::new(Some(side), name)).collect::<Vec<_>>()
    };
    let joined = match how {
        How::Cross => builder.cross_join(right)?,
        How::Equal(how) => {
            builder.join(right, how, (keys(LEFT, &names.left), keys(RIGHT, &names.right)), None)?
        }
    };
    Ok(DataFrame::new(state, joined.project(outputs)?.build()?))
}

fn check(frame: &DataFrame, keys: &[String]) -> Result<()> {
    let all = columns(frame);
    match keys.iter().find(|key| all.iter().all(|column| column.name != **key)) {
        None => Ok(()),
        Some(key) => {
            let all: Vec<_> = all.into_iter().map(|column| column.name).collect();
            let all = all.join(", ");
            Err(Error::invalid(format!("column '{key}' not found; there are: {all}")))
        }
    }
}

fn outputs(left: &DataFrame, right: &DataFrame, names: &Names<'_>, how: How) -> Result<Vec<Expr>> {
    let mut taken: BTreeSet<String> = columns(left).into_iter().map(|column| column.name).collect();
    let mut outputs: Vec<Expr> = columns(left)
        .into_iter()
        .map(|column| {
            let name = column.name.clone();
            let other = Expr::Column(Column::new(Some(RIGHT), &name));
            let shared = names.is_shared(&name);
            let value = Expr::Column(column);
            match how {
                How::Equal(JoinType::Right) if shared => other.alias(name),
                How::Equal(JoinType::Full) if shared => coalesce(vec![value, other]).alias(name),
                _ => value.alias(name),
            }
        })
        .collect();
    if how.keeps_right() {
        for column in columns(right) {
            if names.is_shared(&column.name) {
                continue;
            }
            let mut name = column.name.clone();
            if taken.contains(&name) {
                name = format!("{}{name}{}", names.prefix, names.suffix);
            }
            if !taken.insert(name.clone()) {
                return Err(Error::invalid(format!(
                    "both frames have a column '{name}'; give prefix or suffix, or rename one"
                )));
            }
            outputs.push(Expr::Column(column).alias(name));
        }
    }
    Ok(outputs)
}
