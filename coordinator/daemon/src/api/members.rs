//! One rule for the members of objects in the description: what has to be there may be null, and
//! what may be left out is never null. Derived descriptions say of an option that it is both, of
//! which generators of clients make three cases; and some that may be left out are refused as null.

use utoipa::openapi::{
    OpenApi, RefOr, Schema,
    schema::{Array, Object, OneOf, SchemaType, Type},
};

/// Keeps the rule in all of a description.
pub(super) fn settle(document: &mut OpenApi) {
    let schemas = document.components.iter_mut().flat_map(|all| all.schemas.values_mut());
    for schema in schemas {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for (name, member) in &mut object.properties {
            match object.required.contains(name) {
                true => describe_whole(member),
                false => leave_out(member),
            }
        }
    }
}

/// What is said of a member that may be null stands at the member, where it is looked for, and not
/// at the one of its cases that is no null.
fn describe_whole(member: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(cases)) = member else { return };
    for case in &mut cases.items {
        if let RefOr::Ref(case) = case
            && !case.description.is_empty()
        {
            cases.description = Some(std::mem::take(&mut case.description));
        }
    }
}

/// A member that is not null.
fn leave_out(member: &mut RefOr<Schema>) {
    match member {
        RefOr::T(
            Schema::Object(Object { schema_type, .. }) | Schema::Array(Array { schema_type, .. }),
        ) => without_null(schema_type),
        RefOr::T(Schema::OneOf(OneOf { items, .. })) => {
            items.retain(|case| !is_null(case));
            if items.len() == 1
                && let Some(only) = items.pop()
            {
                *member = only;
            }
        }
        _ => {}
    }
}

fn is_null(case: &RefOr<Schema>) -> bool {
    let null = SchemaType::Type(Type::Null);
    matches!(case, RefOr::T(Schema::Object(Object { schema_type, .. })) if *schema_type == null)
}

fn without_null(types: &mut SchemaType) {
    let SchemaType::Array(several) = types else { return };
    several.retain(|one| *one != Type::Null);
    if let [only] = several.as_slice() {
        *types = SchemaType::Type(only.clone());
    }
}
