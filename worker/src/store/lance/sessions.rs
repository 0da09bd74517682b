//! Lance's own caches: one bound for all datasets of a worker, and nothing shared by two datasets
//! that stood in one place.
//!
//! Lance keeps some of what it reads by a dataset's URI and the number of a version alone. A dataset
//! that is removed and written anew in the same place counts its versions from 1 again, and would
//! find what was kept of the other one.

mod scope;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use keyloom_common::store::{LanceSpec, ManifestId};
use lance::{
    Dataset,
    cache::{CacheBackend, QuickCacheBackend, QuickCacheShardPolicy},
    session::{CacheSpec, Session},
};
use lance_io::object_store::ObjectStoreRegistry;

use self::scope::Scope;
use super::identity::{files_are_drawn, manifest_id};
use crate::store::StoreSettings;

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
}

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
pub(super) enum Verdict {
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
        }
    }

    /// The session of the dataset that is known to stand in a place.
    pub(super) fn of(&self, spec: &LanceSpec) -> Arc<Session> {
        self.with_dweller(spec, |dweller| dweller.session.clone())
    }

    /// A session that shares nothing with any other.
    pub(super) fn alone(&self) -> Arc<Session> {
        let number = self.next_scope.fetch_add(1, Ordering::Relaxed);
        let scoped = |backend: &Arc<dyn CacheBackend>| {
            CacheSpec::Backend(Arc::new(Scope { number, backend: backend.clone() }))
        };
        let (index, metadata) = (scoped(&self.index), scoped(&self.metadata));
        Arc::new(Session::with_cache_backends(index, metadata, self.registry.clone()))
    }

    /// Judges a dataset that was opened through a session of its place.
    pub(super) fn judge(
        &self,
        spec: &LanceSpec,
        session: &Arc<Session>,
        dataset: &Dataset,
    ) -> Verdict {
        let (manifest, location) = (&dataset.manifest, dataset.manifest_location());
        // Lance keeps manifests whose size it knows: without an e-tag, by their numbers alone.
        let maybe_kept = location.size.is_some() && location.e_tag.is_none();
        if maybe_kept || !files_are_drawn(manifest) {
            return Verdict::Unknowable;
        }
        self.admit(spec, session, manifest.version, manifest_id(manifest))
    }

    /// Judges a version of a dataset that can be told from others.
    fn admit(
        &self,
        spec: &LanceSpec,
        session: &Arc<Session>,
        number: u64,
        manifest: ManifestId,
    ) -> Verdict {
        self.with_dweller(spec, |dweller| {
            if !Arc::ptr_eq(&dweller.session, session) {
                return Verdict::Rewritten;
            }
            let full = dweller.manifests.len() >= MAX_VERSIONS;
            match dweller.manifests.get(&number) {
                Some(known) if *known == manifest => Verdict::Same,
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

    fn id(of: u128) -> ManifestId {
        ManifestId::of(of, None)
    }

    fn sessions() -> Sessions {
        Sessions::new(&StoreSettings::default())
    }

    #[test]
    fn all_versions_of_a_dataset_have_one_session() {
        let (sessions, place) = (sessions(), lance_spec("/a", "id"));
        let session = sessions.of(&place);
        for version in [1, 3, 2, 1, 3] {
            let verdict = sessions.admit(&place, &session, version, id(version.into()));
            assert_eq!(verdict, Verdict::Same);
            assert!(Arc::ptr_eq(&sessions.of(&place), &session));
        }
    }

    #[test]
    fn another_manifest_of_a_known_version_is_another_dataset() {
        let (sessions, place) = (sessions(), lance_spec("/a", "id"));
        let old = sessions.of(&place);
        assert_eq!(sessions.admit(&place, &old, 2, id(2)), Verdict::Same);
        assert_eq!(sessions.admit(&place, &old, 2, id(20)), Verdict::Rewritten);
        // Nothing of the old dataset is known of the new one, and its session is not taken again.
        assert_eq!(sessions.admit(&place, &old, 1, id(10)), Verdict::Rewritten);
        let new = sessions.of(&place);
        assert!(!Arc::ptr_eq(&old, &new));
        for (version, manifest) in [(2, 20), (1, 10), (2, 20)] {
            assert_eq!(sessions.admit(&place, &new, version, id(manifest)), Verdict::Same);
        }
    }

    #[test]
    fn places_are_told_apart_by_their_uris_and_profiles() {
        let sessions = sessions();
        let here = lance_spec("s3://bucket/a", "id");
        let there = LanceSpec { storage_profile: Some("other".to_owned()), ..here.clone() };
        for (place, manifest) in [(&here, 1), (&there, 2), (&here, 1), (&there, 2)] {
            let session = sessions.of(place);
            assert_eq!(sessions.admit(place, &session, 1, id(manifest)), Verdict::Same);
        }
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
            assert_eq!(sessions.admit(&place(0), &first, version, id(7)), Verdict::Same);
        }
        let verdict = sessions.admit(&place(0), &first, MAX_VERSIONS as u64, id(7));
        assert_eq!(verdict, Verdict::Rewritten);
        assert!(!Arc::ptr_eq(&sessions.of(&place(0)), &first));
    }
}
