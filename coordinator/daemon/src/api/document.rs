//! The description of the API, made of what answers.

use std::{collections::BTreeMap, sync::Arc};

use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        self, Content, Ref, RefOr, Response, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, jobs, rows, view::ErrorBody, workers};

/// The name of the one way to say who asks, beside certificates.
const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keyloom",
        description = "Jobs of a Keyloom cluster: handed in, followed, and their rows read."
    ),
    components(schemas(ErrorBody, rows::RowsFormat)),
    modifiers(&Bearer),
    tags(
        (name = "jobs", description = "Jobs, which run by themselves once they are handed in."),
        (name = "workers", description = "The workers that run them.")
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

/// A row: an object with a member for each column.
#[derive(ToSchema)]
#[allow(dead_code, reason = "the derived description alone looks at the fields")]
pub(super) struct Row {
    #[serde(flatten)]
    columns: BTreeMap<String, serde_json::Value>,
}

/// Why something is not answered, whatever is asked.
pub(super) struct Refusals;

const REFUSALS: [(u16, &str); 13] = [
    (400, "What is asked is wrong, and stays wrong: `invalid`."),
    (401, "Nothing shows who asks, or nobody knows it: `permission_denied`."),
    (403, "Whoever asks may not have it: `permission_denied`."),
    (404, "There is no such thing (any more): `not_found`."),
    (405, "The path is not asked so: `invalid`."),
    (409, "A job is not in a state for that: `invalid` or `cancelled`."),
    (413, "The request is too large: `resource_exhausted`."),
    (415, "The request is not JSON: `invalid`."),
    (429, "A bound is reached: `resource_exhausted`. Come again."),
    (500, "A defect: `internal`."),
    (502, "A store, an input or an output does not answer as it should: `store`."),
    (503, "Somebody who is needed is not there: `unavailable`. Come again."),
    (504, "It takes too long: `timeout`."),
];

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let described = REFUSALS.into_iter().map(|(status, description)| {
            let content = Content::new(Some(Ref::from_schema_name("Error")));
            let response = ResponseBuilder::new().description(description);
            let response = response.content("application/json", content).build();
            (status.to_string(), RefOr::T(response))
        });
        described.collect()
    }
}

/// All that is answered, and its description.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(jobs::submit_job, jobs::list_jobs))
        .routes(routes!(jobs::show_job, jobs::cancel_job))
        .routes(routes!(jobs::resume_job))
        .routes(routes!(jobs::read_logs))
        .routes(routes!(rows::read_rows))
        .routes(routes!(workers::list_workers))
        .routes(routes!(workers::drain_worker))
        .routes(routes!(jobs::describe))
}
