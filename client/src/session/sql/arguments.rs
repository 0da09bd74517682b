//! The arguments of a call: by position or by name, each a literal but the key.

use datafusion::sql::sqlparser::ast::{Array, Expr, FunctionArg, FunctionArgExpr, Value};
use keyloom_common::{
    Error, Result,
    functions::{CallOptions, Function, OnError},
    misses::MaxMisses,
};

/// The arguments of a call, by meaning.
pub(super) struct Arguments {
    pub(super) key: Expr,
    pub(super) source: Option<String>,
    pub(super) options: CallOptions,
}

impl Arguments {
    pub(super) fn read(function: Function, arguments: Vec<FunctionArg>) -> Result<Self> {
        let (name, parameters) = (function.name(), function.parameters());
        let mut values: Vec<Option<Expr>> = vec![None; parameters.len()];
        for (position, argument) in arguments.into_iter().enumerate() {
            let (index, given, value) = match argument {
                FunctionArg::Unnamed(value) => (Some(position), None, value),
                FunctionArg::Named { name, arg, .. } => {
                    (function.parameter(&name.value), Some(name.value), arg)
                }
                FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => {
                    (function.parameter(&name.value), Some(name.value), arg)
                }
                FunctionArg::ExprNamed { name: given, arg, .. } => {
                    (None, Some(given.to_string()), arg)
                }
            };
            let slot = index.and_then(|index| values.get_mut(index)).ok_or_else(|| {
                let choices = function.parameters().join(", ");
                Error::invalid(match given {
                    Some(given) => format!("{name} has no argument '{given}'; it takes {choices}"),
                    None => format!("{name} was given too many arguments; it takes {choices}"),
                })
            })?;
            let FunctionArgExpr::Expr(value) = value else {
                return Err(Error::invalid(format!("{name} takes one key expression, not *")));
            };
            if slot.replace(value).is_some() {
                return Err(Error::invalid(format!("{name} was given an argument twice")));
            }
        }
        Self::of_values(function, values)
    }

    fn of_values(function: Function, values: Vec<Option<Expr>>) -> Result<Self> {
        let (mut key, mut source, mut options) = (None, None, CallOptions::default());
        let (mut on_error, mut most) = (None, None);
        for (parameter, value) in function.parameters().iter().zip(values) {
            let Some(value) = value else { continue };
            if *parameter == "row_ids" {
                key = Some(value);
            } else if *parameter == "on_error" && is_null(&value) {
                return Err(literal(parameter, "'raise' or 'null' in quotes", &value));
            } else if !is_null(&value) {
                match *parameter {
                    "source" => source = Some(text(parameter, &value)?),
                    "on_error" => on_error = Some(OnError::parse(&text(parameter, &value)?)?),
                    "max_misses" => most = Some(max_misses(&value)?),
                    "columns" => options.columns = Some(texts(&value)?),
                    _ => options.batch_size = Some(number(parameter, &value)?),
                }
            }
        }
        let key = key.ok_or_else(|| {
            Error::invalid(format!("{} needs a key: {0}(key, …)", function.name()))
        })?;
        options.on_error = on_missing(on_error, most)?;
        Ok(Self { key, source, options })
    }
}

/// What a missing key means, by the two arguments that say so.
fn on_missing(on_error: Option<OnError>, most: Option<MaxMisses>) -> Result<OnError> {
    match (on_error, most) {
        (Some(OnError::Raise), Some(_)) => Err(Error::invalid(
            "on_error => 'raise' fails for any missing key, and max_misses allows some; leave out \
             one of them",
        )),
        (_, Some(most)) => Ok(OnError::AtMost(most)),
        (given, None) => Ok(given.unwrap_or_default()),
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

pub(super) fn text(parameter: &str, expr: &Expr) -> Result<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Ok(text.clone()),
            other => Err(literal(parameter, "a string in quotes", other)),
        },
        other => Err(literal(parameter, "a string in quotes", other)),
    }
}

fn texts(expr: &Expr) -> Result<Vec<String>> {
    match expr {
        Expr::Array(Array { elem, .. }) => {
            elem.iter().map(|element| text("columns", element)).collect()
        }
        other => match text("columns", other) {
            Ok(column) => Ok(vec![column]),
            Err(_) => Err(literal("columns", "a list like ['name', 'category']", other)),
        },
    }
}

fn number(parameter: &str, expr: &Expr) -> Result<usize> {
    let wrong = || literal(parameter, "a whole number of at least 1", expr);
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.to_string().parse().map_err(|_| wrong()),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn max_misses(expr: &Expr) -> Result<MaxMisses> {
    let given = match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            Value::Number(digits, _) => digits.to_string(),
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    MaxMisses::parse(&given)
}

fn literal(parameter: &str, wanted: &str, given: &impl std::fmt::Display) -> Error {
    Error::invalid(format!("{parameter} is {wanted}, not {given}"))
}
