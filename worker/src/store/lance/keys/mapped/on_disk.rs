//! What searches through maps do on disk: in threads that may wait for it.

use std::sync::Arc;

use keyloom_common::{Result, store::KEY_MAP_BYTES_A_ROW};
use tokio::sync::MutexGuard;

use super::{Asked, find};
use crate::store::{
    kept::Kept,
    lance::{
        keys::{
            run::RunMap,
            runs::{KeyName, Part},
            scan::KeyScan,
            sieve::{Sieve, Wanted},
            stored::folder::MapFolder,
        },
        tasks,
    },
};

impl KeyScan {
    /// Learns which maps of the key are stored, unless that is known.
    pub(in crate::store::lance::keys) async fn recall(&self) -> Result<()> {
        let Some(folder) = &self.handle.caches.stored else { return Ok(()) };
        if folder.is_recalled(&self.key_name()) {
            return Ok(());
        }
        let caches = self.handle.caches.clone();
        let recalled = self.with_folder(move |folder, key| {
            folder.recall(key, |runs| caches.runs.learn(key, runs));
        });
        recalled.await.map(drop)
    }

    /// The map of a run, if it is stored.
    pub(super) async fn stored(&self, part: &Part) -> Result<Option<Arc<Kept<RunMap>>>> {
        let (run, caches) = (part.run.clone(), self.handle.caches.clone());
        let opened = self.with_folder(move |folder, key| {
            let map = folder.open(key, &run)?;
            let bytes = map.bytes();
            Some(Kept::new(map, bytes, caches.room_for_stored_map(bytes)))
        });
        Ok(opened.await?.flatten())
    }

    /// The bytes of those maps of the snapshot's keys that are neither kept nor stored.
    pub(in crate::store::lance::keys) fn missing_bytes(&self, folder: &MapFolder) -> u64 {
        let missing = self.asked().into_iter();
        let missing = missing.filter(|Asked { part, map }| {
            // Whoever looks for it finds out if its file is gone.
            map.is_none() && !folder.holds(part.run.id)
        });
        missing.map(|asked| u64::from(asked.part.run.rows()) * KEY_MAP_BYTES_A_ROW).sum()
    }

    /// A turn to make a map. Where memory has no room for all maps of the snapshot, they are made
    /// for the folder, one at a time.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let caches = &self.handle.caches;
        let folder = caches.stored.as_ref()?;
        if self.layout.map_bytes() <= caches.there_is_for_maps() {
            return None;
        }
        Some(folder.making.lock().await)
    }

    /// Stores a map that was made, for other processes.
    pub(super) async fn save(&self, map: &Arc<Kept<RunMap>>) -> Result<()> {
        let map = map.clone();
        let saved = self.with_folder(move |folder, key| folder.save(key, &map));
        saved.await.map(drop)
    }

    /// The rows of a part whose codes are wanted. None if its map is stored and cannot be read: it
    /// is kept no longer.
    pub(super) async fn find_in(
        &self,
        wanted: Arc<Wanted>,
        bounds: Option<(i64, i64)>,
        part: Part,
        map: Arc<Kept<RunMap>>,
    ) -> Result<Option<Sieve>> {
        let waits = map.in_memory().is_none() && !map.is_beside(bounds);
        let (run, asked, layout) = (part.run.clone(), map.clone(), self.layout.clone());
        let search = move || {
            let mut found = Sieve::new(wanted);
            find(&layout, bounds, &part, &asked, &mut found).map(|()| found)
        };
        let found = if waits { tasks::run_blocking(search).await? } else { search() };
        let error = match found {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        let maps = &self.handle.caches.maps;
        // Others that found it so may have made it again already.
        if maps.get(&run.id).is_none_or(|kept| Arc::ptr_eq(&kept, &map)) {
            maps.remove(&run.id);
            self.with_folder(move |folder, key| folder.discard(key, &run, &error)).await?;
        }
        Ok(None)
    }

    /// Does something in the folder for stored maps, if there is one.
    async fn with_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MapFolder, &KeyName) -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let caches = self.handle.caches.clone();
        if caches.stored.is_none() {
            return Ok(None);
        }
        let key = self.key_name();
        let work = move || caches.stored.as_ref().map(|folder| work(folder, &key));
        tasks::run_blocking(work).await
    }
}
