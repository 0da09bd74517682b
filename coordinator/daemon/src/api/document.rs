//! The description of the API, made of what answers.

use std::{collections::BTreeMap, sync::Arc};

use utoipa::{
    IntoResponses, Modify, OpenApi,
    openapi::{
        self, Content, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, jobs, members, rows, told::ArrowStream, view::RefusalView, workers};

/// The name of the one way to say who asks, beside certificates.
const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keyloom",
        description = "Jobs of a Keyloom cluster: handed in, followed, and their rows read."
    ),
    components(schemas(ArrowStream, RefusalView)),
    modifiers(&Bearer),
    servers((url = "/", description = "The coordinator that says this.")),
    tags(
        (name = "jobs", description = "Jobs, which run by themselves once they are handed in."),
        (name = "workers", description = "The workers that run them."),
        (name = "description", description = "What there is to ask for.")
    )
)]
struct Document;

/// Whoever asks shows a token, where the cluster has tokens.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(BEARER, RefOr::T(SecurityScheme::Http(scheme)));
        let token = SecurityRequirement::new(BEARER, [""; 0]);
        document.security = Some(vec![SecurityRequirement::default(), token]);
    }
}

/// Why something is not answered, whatever is asked.
pub(super) struct Refusals;

/// Why a job is not taken, beside all that.
pub(super) struct JobRefusals;

const REFUSALS: [(u16, &str); 10] = [
    (400, "What is asked is wrong, and stays wrong: `invalid`."),
    (401, "Nothing shows who asks, or nobody knows it: `permission_denied`."),
    (403, "Whoever asks may not have it: `permission_denied`."),
    (404, "There is no such thing (any more): `not_found`."),
    (409, "A job is not in a state for that, or in the way of another: `invalid` or `cancelled`."),
    (429, "A bound is reached: `resource_exhausted`. Come again."),
    (500, "A defect: `internal`."),
    (502, "A store, an input or an output does not answer as it should: `store`."),
    (503, "Somebody who is needed is not there: `unavailable`. Come again."),
    (504, "It takes too long: `timeout`."),
];

const JOB_REFUSALS: [(u16, &str); 2] = [
    (413, "The request is too large: `resource_exhausted`."),
    (415, "The request is not JSON: `invalid`."),
];

/// Refusals that say when it is worth another try.
const COME_AGAIN: [u16; 2] = [429, 503];

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        REFUSALS.into_iter().map(refusal).collect()
    }
}

impl IntoResponses for JobRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        JOB_REFUSALS.into_iter().map(refusal).collect()
    }
}

fn refusal((status, description): (u16, &str)) -> (String, RefOr<Response>) {
    let content = Content::new(Some(Ref::from_schema_name("Refusal")));
    let response = ResponseBuilder::new().description(description);
    let mut response = response.content("application/json", content);
    if COME_AGAIN.contains(&status) {
        let seconds = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
            .description(Some("After how many seconds."));
        response = response.header("Retry-After", seconds.build());
    }
    (status.to_string(), RefOr::T(response.build()))
}

/// All that is answered, and its description.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    let mut routes = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(jobs::submit_job, jobs::list_jobs))
        .routes(routes!(jobs::show_job, jobs::cancel_job))
        .routes(routes!(jobs::resume_job))
        .routes(routes!(jobs::read_logs))
        .routes(routes!(rows::read_rows))
        .routes(routes!(rows::read_rows_as_csv))
        .routes(routes!(rows::read_rows_as_arrow))
        .routes(routes!(workers::list_workers))
        .routes(routes!(workers::drain_worker))
        .routes(routes!(jobs::describe));
    members::settle(routes.get_openapi_mut());
    routes
}
