//! Lance's own caches: one bound for all datasets of a worker, and nothing shared by two datasets
//! that stood in one place.
//!
//! Lance keeps some of what it reads by a dataset's URI and the number of a version alone. A
//! dataset that is removed and written anew in the same place counts its versions from 1 again, and
//! would find what was kept of the other one.

mod scope;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use keyloom_common::store::ManifestId;
use lance::{
    Dataset,
    cache::{CacheBackend, QuickCacheBackend, QuickCacheShardPolicy},
    session::{CacheSpec, Session},
};
use lance_io::object_store::ObjectStoreRegistry;

use self::scope::Scope;
use crate::store::{
    Patience, StoreSettings,
    lance::{
        files::requests::{Requests, is_local},
        identity::{files_are_drawn, manifest_id},
        spec::LanceSpec,
    },
};

/// The most places whose versions are known. One that is forgotten starts with nothing kept.
const MAX_PLACES: usize = 256;

/// The most versions that are known of a place, as with places.
const MAX_VERSIONS: usize = 4096;

/// Lance's sessions. All have the same caches, and each its own part of them.
#[derive(Debug)]
pub(crate) struct Sessions {
    index: Arc<dyn CacheBackend>,
    metadata: Arc<dyn CacheBackend>,
    registry: Arc<ObjectStoreRegistry>,
    next_scope: AtomicU64,
    places: Mutex<Places>,
    patience: Patience,
    services: Mutex<HashMap<Service, Arc<Requests>>>,
}

/// What answers for many datasets: a bucket, and the profile that it is opened with.
type Service = (String, Option<String>);

/// Where a dataset stands: the URI, and the profile that says of which service.
type Place = (String, Option<String>);

/// Counts uses in place of a clock.
#[derive(Debug, Default)]
struct Places {
    uses: u64,
    by_name: HashMap<Place, Dweller>,
}

/// The dataset that stands in a place, as far as it is known. Of each version number it has one
/// manifest: with another, it is another dataset.
#[derive(Debug)]
struct Dweller {
    session: Arc<Session>,
    manifests: HashMap<u64, ManifestId>,
    last_use: u64,
}

/// Whether a dataset may be read through the session that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::lance) enum Verdict {
    /// Yes.
    Same,
    /// No: it is another one than was known, for which there is a new session now.
    Rewritten,
    /// No: Lance could not tell it from another one.
    Unknowable,
}

impl Sessions {
    pub(crate) fn new(settings: &StoreSettings) -> Self {
        let backend = |bytes, policy| -> Arc<dyn CacheBackend> {
            Arc::new(QuickCacheBackend::with_shard_policy(bytes, policy))
        };
        Self {
            // Few large entries: they share one budget.
            index: backend(settings.lance_index_cache_bytes, QuickCacheShardPolicy::Single),
            metadata: backend(
                settings.lance_metadata_cache_bytes,
                QuickCacheShardPolicy::Recommended,
            ),
            registry: Arc::default(),
            next_scope: AtomicU64::new(0),
            places: Mutex::default(),
            patience: Patience::of(settings),
            services: Mutex::default(),
        }
    }

    /// The requests by which a dataset is read, shared by all datasets of a bucket as its
    /// connections are; none if it is read as local files.
    pub(in crate::store::lance) fn requests(&self, spec: &LanceSpec) -> Option<Arc<Requests>> {
        if is_local(&spec.uri) {
            return None;
        }
        let (scheme, path) = spec.uri.split_once("://")?;
        let bucket = path.split('/').next().unwrap_or_default();
        let service = (format!("{scheme}://{bucket}"), spec.storage_profile.clone());
        // No change leaves the services half-done, so a poisoned lock guards sound contents.
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.len() >= MAX_PLACES && !services.contains_key(&service) {
            services.retain(|_, requests| Arc::strong_count(requests) > 1);
        }
        let new = || Arc::new(Requests::new(self.patience));
        Some(Arc::clone(services.entry(service).or_insert_with(new)))
    }

    /// The session of the dataset that is known to stand in a place.
    pub(in crate::store::lance) fn of(&self, spec: &LanceSpec) -> Arc<Session> {
        self.with_dweller(spec, |dweller| dweller.session.clone())
    }

    /// A session that shares nothing with any other.
    pub(in crate::store::lance) fn alone(&self) -> Arc<Session> {
        let number = self.next_scope.fetch_add(1, Ordering::Relaxed);
        let scoped = |backend: &Arc<dyn CacheBackend>| {
            CacheSpec::Backend(Arc::new(Scope { number, backend: backend.clone() }))
        };
        let (index, metadata) = (scoped(&self.index), scoped(&self.metadata));
        Arc::new(Session::with_cache_backends(index, metadata, self.registry.clone()))
    }

    /// Judges a dataset that was opened through a session of its place.
    pub(in crate::store::lance) fn judge(
        &self,
        spec: &LanceSpec,
        session: &Arc<Session>,
        dataset: &Dataset,
    ) -> Verdict {
        let (manifest, location) = (&dataset.manifest, dataset.manifest_location());
        // Lance keeps manifests whose size it knows: without an e-tag, by their numbers alone.
        if location.size.is_some() && location.e_tag.is_none() {
            return Verdict::Unknowable;
        }
        let knowable = || files_are_drawn(manifest);
        self.admit(spec, session, manifest.version, manifest_id(manifest), knowable)
    }

    /// Judges a version by its manifest. Whether Lance can tell its files from others is asked when
    /// it is first seen.
    fn admit(
        &self,
        spec: &LanceSpec,
        session: &Arc<Session>,
        number: u64,
        manifest: ManifestId,
        knowable: impl FnOnce() -> bool,
    ) -> Verdict {
        self.with_dweller(spec, |dweller| {
            if !Arc::ptr_eq(&dweller.session, session) {
                return Verdict::Rewritten;
            }
            let full = dweller.manifests.len() >= MAX_VERSIONS;
            match dweller.manifests.get(&number) {
                Some(known) if *known == manifest => Verdict::Same,
                None if !knowable() => Verdict::Unknowable,
                None if !full => {
                    dweller.manifests.insert(number, manifest);
                    Verdict::Same
                }
                _ => {
                    dweller.session = self.alone();
                    dweller.manifests.clear();
                    Verdict::Rewritten
                }
            }
        })
    }

    fn with_dweller<T>(&self, spec: &LanceSpec, look: impl FnOnce(&mut Dweller) -> T) -> T {
        // No look leaves the places half-done, so a poisoned lock guards sound contents.
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        look(places.touch((spec.uri.clone(), spec.storage_profile.clone()), || self.alone()))
    }
}

impl Places {
    fn touch(&mut self, place: Place, session: impl FnOnce() -> Arc<Session>) -> &mut Dweller {
        self.uses += 1;
        if self.by_name.len() >= MAX_PLACES && !self.by_name.contains_key(&place) {
            let oldest = self.by_name.iter().min_by_key(|(_, dweller)| dweller.last_use);
            if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                self.by_name.remove(&oldest);
            }
        }
        let new = || Dweller { session: session(), manifests: HashMap::new(), last_use: 0 };
        let dweller = self.by_name.entry(place).or_insert_with(new);
        dweller.last_use = self.uses;
        dweller
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::fixture::lance_spec;

    fn admit(
        sessions: &Sessions,
        place: &LanceSpec,
        session: &Arc<Session>,
        version: u64,
        manifest: u128,
    ) -> Verdict {
        sessions.admit(place, session, version, ManifestId::of(manifest, None), || true)
    }

    fn sessions() -> Sessions {
        Sessions::new(&StoreSettings::default())
    }

    #[test]
    fn all_versions_of_a_dataset_have_one_session() {
        let (sessions, place) = (sessions(), lance_spec("/a", "id"));
        let session = sessions.of(&place);
        for version in [1, 3, 2, 1, 3] {
            let verdict = admit(&sessions, &place, &session, version, version.into());
            assert_eq!(verdict, Verdict::Same);
            assert!(Arc::ptr_eq(&sessions.of(&place), &session));
        }
    }

    #[test]
    fn another_manifest_of_a_known_version_is_another_dataset() {
        let (sessions, place) = (sessions(), lance_spec("/a", "id"));
        let old = sessions.of(&place);
        assert_eq!(admit(&sessions, &place, &old, 2, 2), Verdict::Same);
        assert_eq!(admit(&sessions, &place, &old, 2, 20), Verdict::Rewritten);
        // Nothing of the old dataset is known of the new one, and its session is not taken again.
        assert_eq!(admit(&sessions, &place, &old, 1, 10), Verdict::Rewritten);
        let new = sessions.of(&place);
        assert!(!Arc::ptr_eq(&old, &new));
        for (version, manifest) in [(2, 20), (1, 10), (2, 20)] {
            assert_eq!(admit(&sessions, &place, &new, version, manifest), Verdict::Same);
        }
    }

    #[test]
    fn places_are_told_apart_by_their_uris_and_profiles() {
        let sessions = sessions();
        let here = lance_spec("s3://bucket/a", "id");
        let there = LanceSpec { storage_profile: Some("other".to_owned()), ..here.clone() };
        for (place, manifest) in [(&here, 1), (&there, 2), (&here, 1), (&there, 2)] {
            let session = sessions.of(place);
            assert_eq!(admit(&sessions, place, &session, 1, manifest), Verdict::Same);
        }
    }

    #[test]
    fn datasets_of_a_bucket_share_requests_and_local_ones_make_none() {
        let sessions = sessions();
        let requests = |uri: &str, profile: Option<&str>| {
            let profile = profile.map(str::to_owned);
            sessions.requests(&LanceSpec { storage_profile: profile, ..lance_spec(uri, "id") })
        };
        let one = requests("s3://bucket/a", None).unwrap();
        let shared = [requests("s3://bucket/b/c", None), requests("s3://bucket", None)];
        assert!(shared.iter().flatten().all(|other| Arc::ptr_eq(&one, other)));
        let others = [requests("s3://other/a", None), requests("s3://bucket/a", Some("minio"))];
        assert!(others.iter().flatten().all(|other| !Arc::ptr_eq(&one, other)));
        assert_eq!(shared.iter().chain(&others).flatten().count(), 4);
        for local in ["/data/a", "a.lance", "file:///data/a"] {
            assert!(requests(local, None).is_none(), "{local}");
        }
        drop((shared, others));
        for number in 0..2 * MAX_PLACES {
            requests(&format!("s3://{number}/a"), None).unwrap();
        }
        assert!(sessions.services.lock().unwrap().len() <= MAX_PLACES);
        assert!(Arc::ptr_eq(&one, &requests("s3://bucket/a", None).unwrap()));
    }

    #[test]
    fn what_is_forgotten_starts_anew() {
        let sessions = sessions();
        let place = |number: usize| lance_spec(&format!("/{number}"), "id");
        let first = sessions.of(&place(0));
        for number in 0..MAX_PLACES {
            sessions.of(&place(number));
        }
        assert!(Arc::ptr_eq(&sessions.of(&place(0)), &first));
        sessions.of(&place(MAX_PLACES));
        assert!(Arc::ptr_eq(&sessions.of(&place(0)), &first));
        assert_eq!(sessions.with_dweller(&place(1), |dweller| dweller.manifests.len()), 0);

        for version in 0..MAX_VERSIONS as u64 {
            assert_eq!(admit(&sessions, &place(0), &first, version, 7), Verdict::Same);
        }
        let verdict = admit(&sessions, &place(0), &first, MAX_VERSIONS as u64, 7);
        assert_eq!(verdict, Verdict::Rewritten);
        assert!(!Arc::ptr_eq(&sessions.of(&place(0)), &first));
    }
}
