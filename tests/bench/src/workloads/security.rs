//! What it costs to let nobody in but those who may.

use super::{Variant, Workload, items};
use crate::data::requests::{Keys, Requests};

pub(super) fn all() -> Vec<Workload> {
    let dense = Requests::of(1_000_000, Keys::uniform("id", 1_000_000));
    let none = Requests::of(1, Keys::uniform("id", 1));
    vec![
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
