//! What is known of a field's values, and the type that holds them all.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Fields as ArrowFields};

/// Kinds of scalars that were seen; none if all was null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scalars(u8);

impl Scalars {
    pub(super) const BOOLEAN: Self = Self(1);
    pub(super) const INTEGER: Self = Self(1 << 1);
    pub(super) const NEGATIVE: Self = Self(1 << 2);
    /// Beyond signed 64 bits.
    pub(super) const UNSIGNED: Self = Self(1 << 3);
    /// An integer that is not exact as a number with a fraction.
    pub(super) const LONG: Self = Self(1 << 4);
    pub(super) const FLOAT: Self = Self(1 << 5);
    /// Text, or a number that nothing else holds.
    pub(super) const TEXT: Self = Self(1 << 6);

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The type that holds all values without changing any; text does.
    fn data_type(self) -> DataType {
        let integers = self.has(Self::INTEGER);
        let numbers = integers || self.has(Self::FLOAT);
        match self {
            _ if self.has(Self::TEXT) => DataType::Utf8,
            Self::BOOLEAN => DataType::Boolean,
            _ if !numbers || self.has(Self::BOOLEAN) => DataType::Utf8,
            _ if self.has(Self::FLOAT) && self.has(Self::LONG) => DataType::Utf8,
            _ if self.has(Self::FLOAT) => DataType::Float64,
            _ if !self.has(Self::UNSIGNED) => DataType::Int64,
            _ if self.has(Self::NEGATIVE) => DataType::Utf8,
            _ => DataType::UInt64,
        }
    }
}

/// What is known of a field's values.
#[derive(Debug)]
pub(super) enum Shape {
    Scalar(Scalars),
    List(Box<Shape>),
    Struct(Fields),
    /// Values that no type holds together.
    Mixed,
}

impl Default for Shape {
    fn default() -> Self {
        Self::Scalar(Scalars::default())
    }
}

impl Shape {
    /// Whether nothing but nulls was seen.
    fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalars) if *scalars == Scalars::default())
    }

    /// Takes a scalar into account; false if it does not go with what there is.
    pub(super) fn add(&mut self, scalar: Scalars) -> bool {
        match self {
            Self::Scalar(scalars) => *scalars = scalars.and(scalar),
            _ => *self = Self::Mixed,
        }
        !matches!(self, Self::Mixed)
    }

    /// The shape of a list's elements, if this can be a list.
    pub(super) fn elements(&mut self) -> Option<&mut Self> {
        if self.is_null() {
            *self = Self::List(Box::default());
        }
        if !matches!(self, Self::List(_)) {
            *self = Self::Mixed;
        }
        match self {
            Self::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The fields, if this can be an object.
    pub(super) fn fields(&mut self) -> Option<&mut Fields> {
        if self.is_null() {
            *self = Self::Struct(Fields::default());
        }
        if !matches!(self, Self::Struct(_)) {
            *self = Self::Mixed;
        }
        match self {
            Self::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// The type that holds all values.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Scalar(scalars) => scalars.data_type(),
            Self::List(elements) => DataType::new_list(elements.data_type(), true),
            Self::Struct(fields) => DataType::Struct(fields.to_arrow()),
            Self::Mixed => DataType::Utf8,
        }
    }

    /// The way to the first field that no type holds.
    fn find_mixed(&self) -> Option<String> {
        match self {
            Self::Scalar(_) => None,
            Self::Mixed => Some(String::new()),
            Self::List(elements) => elements.find_mixed().map(|rest| format!("[]{rest}")),
            Self::Struct(fields) => fields.find_mixed().map(|path| format!(".{path}")),
        }
    }
}

/// The fields of an object, in the order in which they first came.
#[derive(Debug, Default)]
pub(super) struct Fields {
    list: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

impl Fields {
    /// The place of a field, which is probably the expected one.
    pub(super) fn place(&mut self, name: &str, expected: usize) -> usize {
        if self.list.get(expected).is_some_and(|(known, _)| known == name) {
            return expected;
        }
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.list.len();
        self.places.insert(name.to_owned(), place);
        self.list.push((name.to_owned(), Shape::default()));
        place
    }

    pub(super) fn shape(&mut self, place: usize) -> &mut Shape {
        &mut self.list[place].1
    }

    /// The names and types, in order.
    pub(super) fn types(&self) -> impl Iterator<Item = (&str, DataType)> {
        self.list.iter().map(|(name, shape)| (name.as_str(), shape.data_type()))
    }

    fn to_arrow(&self) -> ArrowFields {
        self.types().map(|(name, of)| Arc::new(Field::new(name, of, true))).collect()
    }

    /// The way to the first field that no type holds.
    pub(super) fn find_mixed(&self) -> Option<String> {
        self.list
            .iter()
            .find_map(|(name, shape)| shape.find_mixed().map(|rest| format!("{name}{rest}")))
    }
}
