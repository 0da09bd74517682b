//! What expressions mean once the columns that they are made of are known: which there are, and
//! what Python's operators do with their types.

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    functions::{core::expr_fn::coalesce, math::expr_fn::floor},
    functions_nested::expr_fn::array_length,
    logical_expr::{
        BinaryExpr, Cast, Expr as Logical, ExprSchemable, Operator, ScalarUDF, binary_expr,
        expr::ScalarFunction, when,
    },
    prelude::lit,
};
use keyloom_common::{
    Error, Result,
    functions::{OctetLength, keep_nested_cases},
};

/// Settles what operators mean once their operands' types are known: `/` of integers is a fraction,
/// `//` rounds down, `%` has the sign of the divisor, and `+` puts strings together.
///
/// # Errors
/// `invalid` if a column is not there, or if strings and numbers were made one.
pub(crate) fn bind(expr: Logical, schema: &DFSchema) -> Result<Logical> {
    check_columns(&expr, schema)?;
    let bound = keep_nested_cases(expr)?.transform_up(|expr| match expr {
        Logical::BinaryExpr(BinaryExpr { left, op, right }) => operation(*left, op, *right, schema),
        Logical::ScalarFunction(call) if call.func.name() == "character_length" => {
            Ok(Transformed::yes(length(call, schema)?))
        }
        Logical::ScalarFunction(call) if call.func.name() == "coalesce" => {
            check_alike(&call.args, schema)?;
            Ok(Transformed::no(Logical::ScalarFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(bound.data)
}

fn operation(
    left: Logical,
    op: Operator,
    right: Logical,
    schema: &DFSchema,
) -> datafusion::error::Result<Transformed<Logical>> {
    let types = (left.get_type(schema)?, right.get_type(schema)?);
    let strings = types.0.is_string() && types.1.is_string();
    let numbers = Numbers::of(&types.0, &types.1);
    Ok(match (op, numbers) {
        (Operator::Divide, Numbers::Unsigned | Numbers::Signed) => {
            Transformed::yes(cast(left, DataType::Float64) / right)
        }
        (Operator::IntegerDivide, Numbers::Unsigned) => Transformed::yes(left / right),
        (Operator::Modulo, Numbers::Unsigned) => Transformed::no(left % right),
        (Operator::IntegerDivide | Operator::Modulo, _) => {
            let (left, right) = (numbers.operand(left, types.0), numbers.operand(right, types.1));
            Transformed::yes(match op {
                Operator::Modulo => modulo(left, right, numbers)?,
                _ => floor_divide(left, right, numbers)?,
            })
        }
        (Operator::Plus, _) if strings => {
            Transformed::yes(binary_expr(left, Operator::StringConcat, right))
        }
        _ => Transformed::no(binary_expr(left, op, right)),
    })
}

/// What two operands are, as far as rounding down is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// Integers, none of which can be below zero.
    Unsigned,
    /// Integers, some of which can.
    Signed,
    /// Anything else.
    Others,
}

impl Numbers {
    fn of(left: &DataType, right: &DataType) -> Self {
        match (
            left.is_integer() && right.is_integer(),
            left.is_signed_integer(),
            right.is_signed_integer(),
        ) {
            (false, ..) => Self::Others,
            (true, false, false) => Self::Unsigned,
            (true, ..) => Self::Signed,
        }
    }

    /// An operand as it can be computed with exactly: DataFusion would make decimals of unsigned
    /// integers of 64 bits and signed ones.
    fn operand(self, expr: Logical, data_type: DataType) -> Logical {
        match (self, data_type) {
            (Self::Signed, DataType::UInt64) => cast(expr, DataType::Int64),
            _ => expr,
        }
    }

    /// Zero from above and from below. DataFusion orders -0.0 before 0.0.
    fn zeros(self) -> (Logical, Logical) {
        match self {
            Self::Others => (lit(0.0), lit(-0.0)),
            Self::Signed | Self::Unsigned => (lit(0_i64), lit(0_i64)),
        }
    }
}

fn cast(expr: Logical, data_type: DataType) -> Logical {
    Logical::Cast(Cast::new(Box::new(expr), data_type))
}

/// The quotient rounded down. That of integers is exact.
fn floor_divide(
    left: Logical,
    right: Logical,
    numbers: Numbers,
) -> datafusion::error::Result<Logical> {
    if numbers == Numbers::Others {
        return Ok(floor(left / right));
    }
    let rest = left.clone() % right.clone();
    let quotient = left / right.clone();
    let lower = quotient.clone() - lit(1_i64);
    when(signs_differ(&rest, &right, numbers), lower).otherwise(quotient)
}

/// The rest of the quotient that is rounded down: it has the sign of the divisor.
fn modulo(left: Logical, right: Logical, numbers: Numbers) -> datafusion::error::Result<Logical> {
    let rest = left % right.clone();
    when(signs_differ(&rest, &right, numbers), rest.clone() + right).otherwise(rest)
}

/// Whether one is above and the other below zero.
fn signs_differ(one: &Logical, other: &Logical, numbers: Numbers) -> Logical {
    let (above, below) = numbers.zeros();
    let differ = |one: &Logical, other: &Logical| {
        one.clone().gt(above.clone()).and(other.clone().lt(below.clone()))
    };
    differ(one, other).or(differ(other, one))
}

/// The number of characters of strings, of bytes, or of the elements of lists.
fn length(call: ScalarFunction, schema: &DFSchema) -> datafusion::error::Result<Logical> {
    let [value] = call.args.as_slice() else { return Ok(Logical::ScalarFunction(call)) };
    let data_type = value.get_type(schema)?;
    if data_type.is_list() {
        // DataFusion knows no length of an empty list.
        let elements = coalesce(vec![array_length(value.clone()), lit(0_u64)]);
        let elements = when(value.clone().is_not_null(), elements).end()?;
        return Ok(cast(elements, DataType::Int64));
    }
    if data_type.is_binary() {
        let bytes = ScalarUDF::from(OctetLength::default()).call(vec![value.clone()]);
        return Ok(cast(bytes, DataType::Int64));
    }
    if data_type.is_string() || data_type.is_null() {
        return Ok(cast(Logical::ScalarFunction(call), DataType::Int64));
    }
    Err(Error::invalid(format!("{data_type} has no length; strings, bytes and lists have")).into())
}

/// DataFusion would make one of strings and numbers, and fail at the first row that is no number.
fn check_alike(values: &[Logical], schema: &DFSchema) -> Result<()> {
    let types = values.iter().map(|value| value.get_type(schema));
    let types = types.collect::<Result<Vec<_>, _>>()?;
    let (mut text, mut number) = (None, None);
    for kind in &types {
        if kind.is_string() {
            text = Some(kind);
        } else if kind.is_numeric() {
            number = Some(kind);
        }
    }
    match text.zip(number) {
        None => Ok(()),
        Some((text, number)) => Err(Error::invalid(format!(
            "values of the types {text} and {number} make no column; cast one of them"
        ))),
    }
}

fn check_columns(expr: &Logical, schema: &DFSchema) -> Result<()> {
    for column in expr.column_refs() {
        if schema.index_of_column_by_name(column.relation.as_ref(), &column.name).is_none() {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let (name, names) = (&column.name, names.join(", "));
            return Err(Error::invalid(format!("column '{name}' not found; there are: {names}")));
        }
    }
    Ok(())
}
