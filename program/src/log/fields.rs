//! What a line, or a span around it, says beside its words: values by names.

use std::{error::Error, fmt};

use tracing::field::{Field, Visit};

/// A value as whoever logged it gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Count(u64),
    Real(f64),
    /// A string, which text has in quotes.
    Quoted(String),
    /// What something looks like.
    Shown(String),
}

impl Value {
    /// As text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Count(value) => value.to_string(),
            Self::Real(value) => format!("{value:?}"),
            Self::Quoted(value) => format!("{value:?}"),
            Self::Shown(value) => value.clone(),
        }
    }

    /// As JSON, where numbers are numbers as far as it has them.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Count(value) => (*value).into(),
            Self::Real(value) if value.is_finite() => (*value).into(),
            Self::Real(value) => value.to_string().into(),
            Self::Quoted(value) | Self::Shown(value) => value.as_str().into(),
        }
    }
}

/// The words and the fields of a line; of a span, its fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    /// Which part said it, if a library logs by other means than we do.
    pub(super) target: Option<String>,
    /// In the order in which they were given, each name once.
    pub(super) named: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match (name.strip_prefix("r#").unwrap_or(name), value) {
            ("message", Value::Quoted(text) | Value::Shown(text)) => self.message = text,
            ("log.target", Value::Quoted(text) | Value::Shown(text)) => self.target = Some(text),
            // Where in its sources a library says something, and what is for traces alone.
            (name, _) if name.starts_with("log.") || name.starts_with("otel.") => {}
            (name, value) => match self.named.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => self.named.push((name, value)),
            },
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Count(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Real(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Quoted(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, Value::Shown(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Shown(format!("{value:?}")));
    }
}
