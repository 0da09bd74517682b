//! Tables whose rows workers write, with what they look up.

use super::{Variant, Workload, get};
use crate::data::{
    keys::KeyKind,
    requests::{Draw, Keys, Requests},
};

/// The name of the workload.
const WRITE: &str = "write";

/// Rows at scale 1.
const FLIGHTS: u64 = 3_000_000;
const AIRPORTS: u64 = 3_400;

pub(super) fn all() -> Vec<Workload> {
    let number = |name, of| Keys { kind: KeyKind::Integer, ..Keys::uniform(name, of) };
    // Few airports have most flights, and some of them no store knows.
    let airport = |name| Keys { missing: 10, draw: Draw::Zipf(1.0), ..number(name, AIRPORTS) };
    let columns = vec![
        number("flight", FLIGHTS),
        airport("origin"),
        airport("destination"),
        number("delay", 1_000),
    ];
    let of_airport = &["name", "country"];
    let calls = vec![
        get("origin_airport", "airports", "origin", of_airport),
        get("destination_airport", "airports", "destination", of_airport),
    ];
    vec![Workload {
        about: "3 M flights of Parquet files with both airports, written as Parquet files",
        requests_of: Some("tasks"),
        variants: vec![
            Variant::DataFusion,
            Variant::Embedded,
            Variant::OneWorker,
            Variant::TwoWorkers,
        ],
        most_runs: 3,
        ..Workload::new(WRITE, Requests { rows: FLIGHTS, fixed: false, columns }, calls)
    }]
}

impl Workload {
    /// Whether its rows are written, and not answered.
    pub(crate) fn is_written(&self) -> bool {
        self.name == WRITE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_same_by_lookups_and_by_joins() -> anyhow::Result<()> {
        let workload = Workload::named(WRITE)?;
        assert_eq!(
            workload.joins_sql(),
            "SELECT r.flight, r.origin, r.destination, r.delay, origin_airport.name AS \
             origin_airport_name, origin_airport.country AS origin_airport_country, \
             destination_airport.name AS destination_airport_name, destination_airport.country AS \
             destination_airport_country FROM requests AS r LEFT JOIN airports AS origin_airport \
             ON r.origin = origin_airport.id LEFT JOIN airports AS destination_airport ON \
             r.destination = destination_airport.id"
        );
        assert!(workload.fields_sql().starts_with(
            "SELECT flight, origin, destination, delay, origin_airport['name'] AS \
             origin_airport_name, "
        ));
        Ok(())
    }
}
