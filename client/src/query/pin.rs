//! Pins the stores of a plan: the snapshot at which each is read, by all tasks of a job.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    physical_plan::ExecutionPlan,
};
use futures::future::try_join_all;
use keyloom_common::{
    Error, Result,
    input::Layout,
    lookup::{Answer, Fetch, KvLookupExec},
    plan::InputScanExec,
    store::{Figures, LANCE, Pin, ResolvedStore, Snapshot, StoreDescription, StoreKey, StoreSpec},
};
use keyloom_planner::{choose_access, single_rows};

use crate::link::Link;

/// A store as the query was planned with it, and as the job reads it.
struct Pinned {
    planned: Arc<ResolvedStore>,
    store: Arc<ResolvedStore>,
    /// The columns that the job reads, as indices into the planned store's schema, in the order of
    /// the store's; none if all are as they were.
    columns: Option<Vec<usize>>,
}

/// Resolves each store's snapshot once for the whole job, and chooses the ways to its rows by the
/// figures of that snapshot.
///
/// # Errors
/// As describing a store, and `invalid` if its columns are not those that the query was planned
/// with.
pub(super) async fn pin_snapshots(
    link: &Link,
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let fetches = fetches(&plan)?;
    let mut stores: Vec<&Arc<ResolvedStore>> = Vec::new();
    for Fetch { store, .. } in &fetches {
        // Others cannot change. Of a Lance store even a version that the user names may: the
        // dataset may have been written anew.
        if store.description.snapshot != Snapshot::Immutable && !stores.contains(&store) {
            stores.push(store);
        }
    }
    let scanned = scanned(&plan)?;
    let pinned = stores.iter().map(async |planned| {
        let spec = StoreSpec { name: planned.alias.clone(), ..planned.spec.clone() };
        let spec = as_scanned(spec, &scanned);
        let now = link.connection.describe_store(spec).await?;
        let fetches = fetches.iter().filter(|fetch| fetch.store == **planned);
        Pinned::try_new(planned, now, &fetches.collect::<Vec<_>>())
            .map_err(|error| error.context(format_args!("KV store '{}'", planned.alias)))
    });
    let pinned = try_join_all(pinned).await?;
    let pin = |node: Arc<dyn ExecutionPlan>| {
        let Some(lookup) = node.downcast_ref::<KvLookupExec>() else {
            return Ok(Transformed::no(node));
        };
        let mut waves = lookup.waves().to_vec();
        for fetch in waves.iter_mut().flat_map(|wave| &mut wave.fetches) {
            if let Some(pinned) = pinned.iter().find(|pinned| pinned.planned == fetch.store) {
                pinned.pin(fetch);
            }
        }
        let pinned = KvLookupExec::try_new(Arc::clone(lookup.input()), waves)?;
        let pinned = pinned.with_counted_by(lookup.counted_by());
        Ok(Transformed::yes(Arc::new(pinned) as Arc<dyn ExecutionPlan>))
    };
    let plan = plan.transform_up(pin).data()?;
    Ok(choose_access(single_rows(plan)?)?)
}

/// A version of a Lance dataset that a plan scans.
struct Scanned {
    uri: String,
    /// As it was asked for.
    pin: Option<Pin>,
    /// Which it was when the query was planned.
    number: u64,
}

/// The Lance datasets that a plan scans, but for versions that the user gives by their numbers.
fn scanned(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Scanned>> {
    let mut scanned = Vec::new();
    plan.apply(|node| {
        if let Some(scan) = node.downcast_ref::<InputScanExec>()
            && !matches!(scan.pin(), Some(Pin::Version(_)))
            && let Layout::Lance(Snapshot::Version { number, .. }) = &scan.table().layout
        {
            let (uri, pin) = (scan.table().location.url.clone(), scan.pin().cloned());
            scanned.push(Scanned { uri, pin, number: *number });
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scanned)
}

/// A store that is also scanned as a table, both the newest or both at one tag, is looked up at the
/// version of the scan.
fn as_scanned(mut spec: StoreSpec, scanned: &[Scanned]) -> StoreSpec {
    let is_it = |scan: &&Scanned| scan.uri == spec.place && scan.pin == spec.pin;
    if spec.kind == LANCE
        && let Some(scan) = scanned.iter().find(is_it)
    {
        spec.pin = Some(Pin::Version(scan.number));
    }
    spec
}

/// The stores that a plan asks.
pub(super) fn stores(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<ResolvedStore>>> {
    Ok(fetches(plan)?.into_iter().map(|fetch| fetch.store).collect())
}

fn fetches(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Fetch>> {
    let mut fetches = Vec::new();
    plan.apply(|node| {
        if let Some(lookup) = node.downcast_ref::<KvLookupExec>() {
            fetches.extend(lookup.waves().iter().flat_map(|wave| &wave.fetches).cloned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(fetches)
}

impl Pinned {
    /// The store as it is now, for the fetches that ask it.
    fn try_new(
        planned: &Arc<ResolvedStore>,
        now: StoreDescription,
        fetches: &[&Fetch],
    ) -> Result<Self> {
        check_unique(planned, &now)?;
        let (description, columns) = if columns(&planned.description).eq(columns(&now)) {
            // What the plan says of its columns stays as it is.
            (StoreDescription { schema: Arc::clone(planned.schema()), ..now }, None)
        } else {
            let columns = fitting_columns(planned, &now, fetches)?;
            (project(planned, &columns, now)?, Some(columns))
        };
        let store = planned.described(description)?;
        Ok(Self { planned: Arc::clone(planned), store, columns })
    }

    fn pin(&self, fetch: &mut Fetch) {
        fetch.store = Arc::clone(&self.store);
        let Some(places) = &self.columns else { return };
        for call in &mut fetch.calls {
            if let Answer::Row { columns, .. } | Answer::All { columns, .. } = &mut call.answer {
                for column in columns {
                    *column = places.binary_search(column).unwrap_or(*column);
                }
            }
        }
    }
}

/// Joins may have been planned by what is known of a version's keys: that none stands twice.
///
/// # Errors
/// `invalid` if the version is another one now, of which that is not known.
fn check_unique(planned: &ResolvedStore, now: &StoreDescription) -> Result<()> {
    let is_unique = |description: &StoreDescription| {
        let figures = description.figures.as_ref();
        figures.is_some_and(|figures| figures.is_unique(planned.key()))
    };
    let is_same = now.snapshot == planned.description.snapshot;
    if is_same || !planned.spec.is_of_version() || !is_unique(&planned.description) {
        return Ok(());
    }
    if is_unique(now) {
        return Ok(());
    }
    Err(Error::invalid("its version was written anew since it was attached; attach it again"))
}

/// A description of some of the planned columns, by what a store is now.
fn project(
    planned: &ResolvedStore,
    columns: &[usize],
    now: StoreDescription,
) -> Result<StoreDescription> {
    let schema = Arc::new(planned.schema().project(columns)?);
    let figures = now.figures.map(|figures| {
        let place = |field: &Arc<Field>| now.schema.index_of(field.name()).ok();
        let bytes = |place: usize| figures.value_bytes.get(place).copied();
        let value_bytes = schema.fields().iter().map(|field| place(field).and_then(bytes));
        let value_bytes = value_bytes.map(Option::unwrap_or_default).collect();
        Figures { value_bytes, ..figures }
    });
    Ok(StoreDescription { schema, figures, ..now })
}

/// Names and types.
fn columns(description: &StoreDescription) -> impl Iterator<Item = (&str, &DataType)> {
    description.schema.fields().iter().map(|field| (field.name().as_str(), field.data_type()))
}

/// The columns that the fetches need of a store whose columns have changed, sorted.
///
/// # Errors
/// `invalid` if one is gone or has another type, or if all columns were asked for, and now there
/// are more.
fn fitting_columns(
    planned: &ResolvedStore,
    now: &StoreDescription,
    fetches: &[&Fetch],
) -> Result<Vec<usize>> {
    let schema = planned.schema();
    let mut needed: BTreeSet<usize> = fetches.iter().flat_map(|fetch| fetch.columns()).collect();
    if let StoreKey::Columns(key) = planned.key() {
        needed.extend(key.names().iter().filter_map(|name| schema.index_of(name).ok()));
    }
    let columns = needed.iter().map(|&column| schema.field(column));
    let mut changes: Vec<String> = columns.filter_map(|field| change(field, now)).collect();
    if fetches.iter().any(|fetch| asks_for_all(fetch)) {
        let new = now.schema.fields().iter().filter(|field| planned.field(field.name()).is_none());
        changes.extend(new.map(|field| format!("'{}' is new", field.name())));
    }
    if changes.is_empty() {
        return Ok(needed.into_iter().collect());
    }
    Err(Error::invalid(format!(
        "its columns have changed since it was attached ({}); attach it again",
        changes.join(", ")
    )))
}

fn change(field: &Field, now: &StoreDescription) -> Option<String> {
    let (name, planned) = (field.name(), field.data_type());
    match now.schema.field_with_name(name) {
        Err(_) => Some(format!("'{name}' is gone")),
        Ok(now) if now.data_type() == planned => None,
        Ok(now) => Some(format!("'{name}' was {planned} and is {}", now.data_type())),
    }
}

/// Whether a fetch asks for all columns, as one does that names none.
fn asks_for_all(fetch: &Fetch) -> bool {
    let all = 0..fetch.store.schema().fields().len();
    fetch.calls.iter().any(|call| match &call.answer {
        Answer::Row { columns, .. } | Answer::All { columns, .. } => {
            columns.iter().copied().eq(all.clone())
        }
        Answer::Exists => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_scanned_is_looked_up_at_the_version_of_the_scan() {
        let tag = |name: &str| Some(Pin::Tag(name.to_owned()));
        let scan = |uri: &str, pin, number| Scanned { uri: uri.to_owned(), pin, number };
        let scanned = [
            scan("a.lance", None, 7),
            scan("a.lance", tag("live"), 5),
            scan("b.lance", tag("live"), 3),
        ];
        let check = |kind: &str, uri: &str, pin: Option<Pin>, expected: Option<Pin>| {
            let spec = StoreSpec { pin, ..StoreSpec::new("s", kind, uri) };
            assert_eq!(as_scanned(spec, &scanned).pin, expected, "{kind} {uri}");
        };
        let version = |number| Some(Pin::Version(number));
        check(LANCE, "a.lance", None, version(7));
        check(LANCE, "a.lance", tag("live"), version(5));
        check(LANCE, "a.lance", tag("old"), tag("old"));
        check(LANCE, "a.lance", version(2), version(2));
        check(LANCE, "b.lance", None, None);
        check(LANCE, "b.lance", tag("live"), version(3));
        check("redis", "a.lance", None, None);
    }
}
