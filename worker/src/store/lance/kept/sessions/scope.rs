//! A part of a cache of Lance's: the same bytes and the same bound as the whole, under other keys.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures::Future;
use lance::cache::{CacheBackend, CacheCodec, CacheEntry, CacheTier, Context, InternalCacheKey};

/// The part of this number.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) number: u64,
    pub(super) backend: Arc<dyn CacheBackend>,
}

impl Scope {
    /// Keys are digests, so that two that differ in some bits are as unlikely to be given as two
    /// that are the same.
    fn key(&self, key: &InternalCacheKey) -> InternalCacheKey {
        let key = u128::from_le_bytes(*key.as_bytes()) ^ u128::from(self.number);
        InternalCacheKey::from_bytes(key.to_le_bytes())
    }
}

// What the trait does by itself is not what the cache does.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CacheBackend for Scope {
    async fn get_resident(&self, key: &InternalCacheKey) -> Option<CacheEntry> {
        self.backend.get_resident(&self.key(key)).await
    }

    async fn peek_resident(&self, key: &InternalCacheKey) -> bool {
        self.backend.peek_resident(&self.key(key)).await
    }

    async fn peek_tier(&self, key: &InternalCacheKey) -> CacheTier {
        self.backend.peek_tier(&self.key(key)).await
    }

    fn plane_admission_gated(&self) -> bool {
        self.backend.plane_admission_gated()
    }

    async fn get_without_promotion(
        &self,
        key: &InternalCacheKey,
        codec: Option<CacheCodec>,
    ) -> Option<CacheEntry> {
        self.backend.get_without_promotion(&self.key(key), codec).await
    }

    async fn get_rows(
        &self,
        key: &InternalCacheKey,
        rows: &[u32],
        codec: Option<CacheCodec>,
    ) -> Option<CacheEntry> {
        self.backend.get_rows(&self.key(key), rows, codec).await
    }

    async fn get(&self, key: &InternalCacheKey, codec: Option<CacheCodec>) -> Option<CacheEntry> {
        self.backend.get(&self.key(key), codec).await
    }

    async fn insert(
        &self,
        key: &InternalCacheKey,
        entry: CacheEntry,
        size_bytes: usize,
        codec: Option<CacheCodec>,
    ) {
        self.backend.insert(&self.key(key), entry, size_bytes, codec).await;
    }

    async fn get_or_insert<'a>(
        &self,
        key: &InternalCacheKey,
        loader: Pin<Box<dyn Future<Output = lance::Result<(CacheEntry, usize)>> + Send + 'a>>,
        codec: Option<CacheCodec>,
    ) -> lance::Result<(CacheEntry, bool)> {
        self.backend.get_or_insert(&self.key(key), loader, codec).await
    }

    async fn clear(&self) {
        self.backend.clear().await;
    }

    async fn num_entries(&self) -> usize {
        self.backend.num_entries().await
    }

    async fn size_bytes(&self) -> usize {
        self.backend.size_bytes().await
    }

    fn approx_num_entries(&self) -> usize {
        self.backend.approx_num_entries()
    }

    fn approx_size_bytes(&self) -> usize {
        self.backend.approx_size_bytes()
    }

    fn capacity_bytes(&self) -> Option<usize> {
        self.backend.capacity_bytes()
    }

    fn deep_size_of_entries(
        &self,
        context: &mut Context,
        size_of_entry: &dyn Fn(&CacheEntry, &mut Context) -> Option<usize>,
    ) -> Option<usize> {
        self.backend.deep_size_of_entries(context, size_of_entry)
    }
}
