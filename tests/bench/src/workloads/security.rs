//! What it costs to let nobody in but those who may, and to see how a cluster is.

use super::{Variant, Workload, items};
use crate::data::requests::{Keys, Requests};

pub(super) fn all() -> Vec<Workload> {
    let dense = Requests::of(1_000_000, Keys::uniform("id", 1_000_000));
    let none = Requests::of(1, Keys::uniform("id", 1));
    let sparse = Requests::of(50_000, Keys { missing: 10, ..Keys::uniform("id", 5_000_000) });
    let watched = |name, requests_of, requests, calls| Workload {
        about: "jobs of a cluster with an HTTP port and JSON logs, against one without",
        requests_of: Some(requests_of),
        variants: vec![Variant::Watched],
        ..Workload::new(name, requests, calls)
    };
    vec![
        watched("watched-sparse", "sparse", sparse, items("items_5m", "meta_5m")),
        watched("watched-dense", "dense", dense.clone(), items("items_1m", "meta_1m")),
        Workload {
            about: "500 MB of results over TLS with certificates on both sides, against plain",
            requests_of: Some("dense"),
            variants: vec![Variant::OneWorker, Variant::Mtls],
            ..Workload::new("mtls", dense, items("items_1m", "meta_1m"))
        },
        Workload {
            about: "jobs while 5 k strangers are silent, and while 10 k talk nonsense",
            requests_of: Some("tasks"),
            variants: vec![Variant::Strangers],
            ..Workload::new("connections", none, vec![])
        },
    ]
}
