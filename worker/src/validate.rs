//! What the worker's settings may be.

use std::ops::RangeInclusive;

use keyloom_common::{
    Result,
    bounds::{AT_ONCE, BYTES, Bounds, COUNT, FREED_BYTES, KEPT_BYTES, REST_MS, ROWS, TIME_MS},
};

use crate::{
    lookup::LookupSettings, output::OutputSettings, settings::Settings, store::StoreSettings,
};

/// What one read gives is arrays, many of which end at 2 GiB; it may give somewhat more than it
/// should.
const READ_BYTES: RangeInclusive<u64> = 1..=1 << 30;

/// A message is for people; with none, it says how many keys are missing.
const NAMED: RangeInclusive<u64> = 0..=1000;

/// What object stores take as a part of an upload. Somewhat less than they do: a part is in memory.
const PART_BYTES: RangeInclusive<u64> = 5 << 20..=1 << 30;

/// How often a request may be made.
const ATTEMPTS: RangeInclusive<u64> = 1..=100;

/// Each is some forty lines of what is told.
const LABELS: RangeInclusive<u64> = 1..=10_000;

impl Settings {
    /// Checks all settings.
    ///
    /// # Errors
    /// `invalid`, naming all that are wrong.
    pub fn validate(&self) -> Result<()> {
        Bounds::check(|bounds| self.check(bounds))?;
        self.security.validate()?;
        self.http.validate()
    }

    /// Checks all settings, as a section of others.
    pub fn check(&self, bounds: &mut Bounds) {
        if let Some(slots) = self.slots {
            bounds.within("slots", slots, AT_ONCE);
        }
        bounds.section("rpc", |bounds| self.rpc.check(bounds));
        bounds.section("store", |bounds| self.store.check(bounds));
        bounds.section("lookup", |bounds| self.lookup.check(bounds));
        bounds.section("output", |bounds| self.output.check(bounds));
        bounds.section("http", |bounds| self.http.check(bounds));
        // A report is one message.
        let frame = ("rpc.max_frame_bytes", self.rpc.max_frame_bytes as u64);
        let report = ("lookup.key_report_bytes", self.lookup.key_report_bytes);
        bounds.at_most_half(report, frame);
        bounds.within("memory_bytes", self.memory_bytes, BYTES);
        bounds.within("fragment_cache_bytes", self.fragment_cache_bytes, BYTES);
        bounds.within("operator_memory_bytes", self.operator_memory_bytes, BYTES);
        bounds.within("keep_freed_bytes", self.keep_freed_bytes, FREED_BYTES);
        bounds.within("heartbeat_ms", self.heartbeat_ms, TIME_MS);
        bounds.within("stall_timeout_ms", self.stall_timeout_ms, TIME_MS);
        bounds.within("reconnect_ms", self.reconnect_ms, TIME_MS);
        bounds.within("reconnect_max_ms", self.reconnect_max_ms, TIME_MS);
        let longest = ("reconnect_max_ms", self.reconnect_max_ms);
        bounds.at_most(("reconnect_ms", self.reconnect_ms), longest);
        bounds.within("drain_timeout_ms", self.drain_timeout_ms, REST_MS);
        bounds.section("shuffle", |bounds| self.shuffle.check(bounds));
        bounds.section("access", |bounds| self.access.check(bounds));
    }
}

impl StoreSettings {
    fn check(&self, bounds: &mut Bounds) {
        let kept = [
            ("lance_index_cache_bytes", self.lance_index_cache_bytes as u64),
            ("lance_metadata_cache_bytes", self.lance_metadata_cache_bytes as u64),
            ("lance_page_cache_bytes", self.lance_page_cache_bytes as u64),
            ("max_key_map_bytes", self.max_key_map_bytes),
            ("column_cache_bytes", self.column_cache_bytes),
            ("answer_cache_bytes", self.answer_cache_bytes),
        ];
        for (name, bytes) in kept {
            bounds.within(name, bytes, KEPT_BYTES);
        }
        bounds.within("max_key_maps_dir_bytes", self.max_key_maps_dir_bytes, BYTES);
        bounds.within("take_chunk_rows", self.take_chunk_rows, ROWS);
        bounds.within("request_timeout_ms", self.request_timeout_ms, TIME_MS);
        bounds.within("request_attempts", self.request_attempts, ATTEMPTS);
        bounds.within("answer_timeout_ms", self.answer_timeout_ms, TIME_MS);
        bounds.within("retry_rest_ms", self.retry_rest_ms, TIME_MS);
        bounds.within("retry_rest_max_ms", self.retry_rest_max_ms, TIME_MS);
        let longest = ("retry_rest_max_ms", self.retry_rest_max_ms);
        bounds.at_most(("retry_rest_ms", self.retry_rest_ms), longest);
        bounds.within("read_bytes", self.read_bytes, READ_BYTES);
        bounds.within("reads_in_flight", self.reads_in_flight, AT_ONCE);
        bounds.within("remote_reads_in_flight", self.remote_reads_in_flight, AT_ONCE);
        bounds.within("remote_requests_in_flight", self.remote_requests_in_flight, AT_ONCE);
        bounds.within("read_memory_bytes", self.read_memory_bytes, BYTES);
        bounds.within("max_open_readers", self.max_open_readers, COUNT);
        bounds.within("max_open_stores", self.max_open_stores, COUNT);
    }
}

impl LookupSettings {
    fn check(&self, bounds: &mut Bounds) {
        bounds.within("window_rows", self.window_rows, ROWS);
        bounds.within("window_bytes", self.window_bytes, BYTES);
        bounds.within("memory_bytes", self.memory_bytes, BYTES);
        bounds.within("windows_in_flight", self.windows_in_flight, AT_ONCE);
        bounds.within("requests_in_flight", self.requests_in_flight, AT_ONCE);
        bounds.within("key_rows", self.key_rows, ROWS);
        bounds.within("list_rows", self.list_rows, ROWS);
        bounds.within("missing_keys_named", self.missing_keys_named, NAMED);
        bounds.within("key_report_bytes", self.key_report_bytes, BYTES);
        bounds.within("counted_stores", self.counted_stores, LABELS);
    }
}

impl OutputSettings {
    fn check(&self, bounds: &mut Bounds) {
        bounds.within("open_files", self.open_files, AT_ONCE);
        bounds.within("memory_bytes", self.memory_bytes, BYTES);
        bounds.within("row_group_bytes", self.row_group_bytes, BYTES);
        bounds.within("part_bytes", self.part_bytes, PART_BYTES);
        bounds.within("parts_in_flight", self.parts_in_flight, AT_ONCE);
        bounds.within("requests_in_flight", self.requests_in_flight, AT_ONCE);
        bounds.within("cleanup_timeout_ms", self.cleanup_timeout_ms, TIME_MS);
        bounds.within("leftovers_timeout_ms", self.leftovers_timeout_ms, TIME_MS);
        bounds.within("upsert_bytes", self.upsert_bytes, BYTES);
        bounds.within("upsert_part_bytes", self.upsert_part_bytes, BYTES);
        bounds.within("upsert_retries", self.upsert_retries, 0..=1000);
    }
}

#[cfg(test)]
mod tests {
    use keyloom_common::ErrorKind;

    use super::*;

    fn check(change: impl FnOnce(&mut Settings), expected: &str) {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = settings.validate().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected));
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Settings::default().validate(), Ok(()));
    }

    // That every number has bounds is checked by the crate that holds all settings, the client's.
    #[test]
    fn settings_that_are_zero_or_absurd_are_named() {
        check(
            |settings| settings.heartbeat_ms = 0,
            "setting heartbeat_ms must be between 1 and 31536000000, not 0",
        );
        check(
            |settings| settings.rpc.chunk_bytes = 0,
            "setting rpc.chunk_bytes must be between 1 and 2147483648, not 0",
        );
        check(
            |settings| settings.store.column_cache_bytes = u64::MAX,
            "setting store.column_cache_bytes must be between 0 and 140737488355328, \
             not 18446744073709551615",
        );
        check(
            |settings| {
                settings.lookup.window_rows = 0;
                settings.store.read_bytes = 0;
            },
            "setting store.read_bytes must be between 1 and 1073741824, not 0; \
             setting lookup.window_rows must be between 1 and 4294967295, not 0",
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        check(
            |settings| (settings.reconnect_ms, settings.reconnect_max_ms) = (200, 100),
            "setting reconnect_ms must be at most reconnect_max_ms = 100, not 200",
        );
    }

    #[test]
    fn nothing_needs_to_be_kept() {
        let mut settings = Settings::default();
        settings.store.max_key_map_bytes = 0;
        settings.store.column_cache_bytes = 0;
        settings.store.lance_page_cache_bytes = 0;
        assert_eq!(settings.validate(), Ok(()));
    }
}
