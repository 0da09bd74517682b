//! How deep a statement may be nested: it is told before anything recurses into it.
//!
//! The parser bounds what it recurses into itself. Chains of operators it reads in loops, and their
//! trees are as deep as the chains are long: so operators are counted before they are parsed, and
//! levels before they are planned.

use std::ops::ControlFlow;

use datafusion::{
    config::Dialect,
    sql::{
        parser::Statement as Parsed,
        sqlparser::{
            ast::{Expr, Query, Statement, Visit, Visitor},
            dialect::dialect_from_str,
            keywords::Keyword,
            tokenizer::{Token, Tokenizer},
        },
    },
};
use keyloom_common::{
    Error, Result,
    stack::{MAX_DEPTH, too_deep},
};

/// The most operators and words of syntax of a statement.
const MAX_OPERATORS: usize = 100_000;

/// Refuses a statement of too many operators. One that has no tokens is left to the parser.
pub(super) fn check_operators(statement: &str, dialect: &Dialect) -> Result<()> {
    let Some(dialect) = dialect_from_str(dialect) else { return Ok(()) };
    let Ok(tokens) = Tokenizer::new(dialect.as_ref(), statement).tokenize() else { return Ok(()) };
    let operators = tokens.iter().filter(|token| is_operator(token)).count();
    if operators <= MAX_OPERATORS {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!(
        "the statement has {operators} operators and words of syntax, more than {MAX_OPERATORS}; put \
         what it lists into a table"
    )))
}

/// Whether it can make the tree deeper. What only makes it wider cannot, such as values in a list.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NoKeyword | Keyword::NULL | Keyword::TRUE | Keyword::FALSE
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

/// Refuses a statement that is nested too deep.
pub(super) fn check(statement: &Parsed) -> Result<()> {
    match statement {
        Parsed::Statement(statement) => check_levels(statement),
        Parsed::Explain(explain) => check(&explain.statement),
        // Others are refused as what they are.
        _ => Ok(()),
    }
}

fn check_levels(statement: &Statement) -> Result<()> {
    match statement.visit(&mut Levels(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Levels(usize);

impl Levels {
    fn down(&mut self) -> ControlFlow<Error> {
        self.0 += 1;
        if self.0 > MAX_DEPTH { ControlFlow::Break(too_deep()) } else { ControlFlow::Continue(()) }
    }

    fn up(&mut self) -> ControlFlow<Error> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}

impl Visitor for Levels {
    type Break = Error;

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<Error> {
        self.down()
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<Error> {
        self.up()
    }

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.down()
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
        self.up()
    }
}
