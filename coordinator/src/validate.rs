//! What the coordinator's settings may be.

use std::ops::RangeInclusive;

use keyloom_common::{
    Result,
    bounds::{
        ARRAY_BYTES, AT_ONCE, BYTES, Bounds, COUNT, FREED_BYTES, KEPT_BYTES, REST_MS, ROWS, TIME_MS,
    },
};

use crate::{catalog::Catalog, scheduler, settings::Settings};

/// Up to an exbibyte; with none, what does not fit into memory fails its job.
const DISK_BYTES: RangeInclusive<u64> = 0..=1 << 60;

/// More than any machine has cores; 0 is for as many as suit its cores.
const THREADS: RangeInclusive<u64> = 0..=4096;

/// A job with a task that never succeeds must end some day.
const TRIES: RangeInclusive<u64> = 1..=10_000;

/// What is known of a job goes through a message.
const RECORD_BYTES: RangeInclusive<u64> = 1..=4 << 20;

/// A log has room for what happens to each job, and goes through a message.
const LOG_BYTES: RangeInclusive<u64> = 4 << 10..=1 << 20;

/// A task has its number in 32 bits.
const TASKS: RangeInclusive<u64> = 1..=1 << 31;

impl Settings {
    /// Checks all settings.
    ///
    /// # Errors
    /// `invalid`, naming all that are wrong.
    pub fn validate(&self) -> Result<()> {
        Bounds::check(|bounds| self.check(bounds))?;
        self.security.validate()?;
        self.http.validate()?;
        Catalog::open(&self.catalog).map(drop)
    }

    /// Checks all settings, as a section of others.
    pub fn check(&self, bounds: &mut Bounds) {
        bounds.section("rpc", |bounds| self.rpc.check(bounds));
        bounds.section("security", |bounds| self.security.check(bounds));
        bounds.section("scheduler", |bounds| self.scheduler.check(bounds));
        bounds.section("http", |bounds| self.http.check(bounds));
        bounds.section("http_jobs", |bounds| self.http_jobs.check(bounds));
        bounds.within("max_connections", self.max_connections, COUNT);
        bounds.within("idle_connection_ms", self.idle_connection_ms, TIME_MS);
        bounds.within("client_gone_ms", self.client_gone_ms, TIME_MS);
        bounds.within("commit_timeout_ms", self.commit_timeout_ms, TIME_MS);
        bounds.within("abort_timeout_ms", self.abort_timeout_ms, TIME_MS);
        bounds.within("max_jobs", self.max_jobs, COUNT);
        bounds.within("max_jobs_per_client", self.max_jobs_per_client, COUNT);
        bounds.within("max_running_jobs", self.max_running_jobs, COUNT);
        let own = self.max_running_jobs_per_client;
        bounds.within("max_running_jobs_per_client", own, COUNT);
        bounds.within("max_queued_jobs", self.max_queued_jobs, COUNT);
        bounds.within("max_plan_bytes", self.max_plan_bytes, BYTES);
        bounds.within("max_tasks_per_job", self.max_tasks_per_job, TASKS);
        self.check_gathering(bounds);
        bounds.within("memory_bytes", self.memory_bytes, BYTES);
        bounds.within("blob_bytes", self.blob_bytes, BYTES);
        bounds.within("blob_ttl_ms", self.blob_ttl_ms, TIME_MS);
        bounds.within("operator_memory_bytes", self.operator_memory_bytes, BYTES);
        bounds.within("plan_threads", self.plan_threads, THREADS);
        bounds.within("keep_freed_bytes", self.keep_freed_bytes, FREED_BYTES);
        bounds.within("result_chunks_ahead", self.result_chunks_ahead, AT_ONCE);
        bounds.within("client_timeout_ms", self.client_timeout_ms, TIME_MS);
        self.check_history(bounds);
        self.check_slicing(bounds);
    }

    fn check_history(&self, bounds: &mut Bounds) {
        bounds.within("max_remembered_jobs", self.max_remembered_jobs, COUNT);
        bounds.within("job_history_ms", self.job_history_ms, TIME_MS);
        bounds.within("job_record_bytes", self.job_record_bytes, RECORD_BYTES);
        bounds.within("job_log_bytes", self.job_log_bytes, LOG_BYTES);
        bounds.within("detached_result_ms", self.detached_result_ms, TIME_MS);
        bounds.within("journal_ahead_bytes", self.journal_ahead_bytes, BYTES);
        bounds.within("journal_rows_bytes", self.journal_rows_bytes, DISK_BYTES);
    }

    fn check_gathering(&self, bounds: &mut Bounds) {
        bounds.within("receive_bytes", self.receive_bytes, BYTES);
        bounds.within("gather_memory_bytes", self.gather_memory_bytes, KEPT_BYTES);
        bounds.within("gather_disk_bytes", self.gather_disk_bytes, DISK_BYTES);
        bounds.within("gather_wait_ms", self.gather_wait_ms, REST_MS);
        // A worker that waits has made a call.
        let call = ("rpc.call_timeout_ms", self.rpc.call_timeout_ms);
        bounds.at_most_half(("gather_wait_ms", self.gather_wait_ms), call);
    }

    fn check_slicing(&self, bounds: &mut Bounds) {
        bounds.within("slice_rows", self.slice_rows, ROWS);
        bounds.within("row_slices", self.row_slices, COUNT);
        bounds.within("slice_bytes", self.slice_bytes, BYTES);
        bounds.within("write_slice_rows", self.write_slice_rows, ROWS);
        bounds.within("write_slice_bytes", self.write_slice_bytes, BYTES);
        bounds.within("write_slices", self.write_slices, COUNT);
        bounds.within("max_key_set_bytes", self.max_key_set_bytes, ARRAY_BYTES);
        bounds.within("distinct_key_bytes", self.distinct_key_bytes, BYTES);
        bounds.within("missed_row_bytes", self.missed_row_bytes, BYTES);
        bounds.within("answer_bytes", self.answer_bytes, BYTES);
        bounds.within("answer_slices", self.answer_slices, COUNT);
    }
}

impl scheduler::Settings {
    fn check(&self, bounds: &mut Bounds) {
        bounds.within("heartbeat_timeout_ms", self.heartbeat_timeout_ms, TIME_MS);
        bounds.within("no_worker_timeout_ms", self.no_worker_timeout_ms, TIME_MS);
        bounds.within("attempt_timeout_ms", self.attempt_timeout_ms, TIME_MS);
        bounds.within("order_timeout_ms", self.order_timeout_ms, TIME_MS);
        bounds.within("max_task_deaths", self.max_task_deaths, TRIES);
        bounds.within("max_task_losses", self.max_task_losses, TRIES);
        bounds.within("question_slots", self.question_slots, COUNT);
        bounds.within("shuffle_wait_ms", self.shuffle_wait_ms, REST_MS);
        bounds.within("put_off_ms", self.put_off_ms, TIME_MS);
        bounds.within("max_task_attempts", self.max_task_attempts, TRIES);
        bounds.within("retry_backoff_ms", self.retry_backoff_ms, REST_MS);
        bounds.within("retry_backoff_max_ms", self.retry_backoff_max_ms, TIME_MS);
        let longest = ("retry_backoff_max_ms", self.retry_backoff_max_ms);
        bounds.at_most(("retry_backoff_ms", self.retry_backoff_ms), longest);
        bounds.within("retry_elsewhere_ms", self.retry_elsewhere_ms, REST_MS);
        bounds.within("max_tasks_ahead", self.max_tasks_ahead, COUNT);
        bounds.within("revoke_grace_ms", self.revoke_grace_ms, TIME_MS);
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
            |settings| settings.slice_rows = 0,
            "setting slice_rows must be between 1 and 4294967295, not 0",
        );
        check(
            |settings| settings.rpc.chunk_bytes = 0,
            "setting rpc.chunk_bytes must be between 1 and 2147483648, not 0",
        );
        check(
            |settings| settings.scheduler.max_tasks_ahead = usize::MAX,
            "setting scheduler.max_tasks_ahead must be between 1 and 1048576, \
             not 18446744073709551615",
        );
        check(
            |settings| {
                settings.max_connections = 0;
                settings.scheduler.max_task_attempts = u32::MAX;
            },
            "setting scheduler.max_task_attempts must be between 1 and 10000, not 4294967295; \
             setting max_connections must be between 1 and 1048576, not 0",
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        check(
            |settings| {
                (settings.rpc.call_timeout_ms, settings.gather_wait_ms) = (10_000, 5_001);
            },
            "setting gather_wait_ms must be at most half of rpc.call_timeout_ms = 10000, not 5001",
        );
        check(
            |settings| {
                let scheduler = &mut settings.scheduler;
                (scheduler.retry_backoff_ms, scheduler.retry_backoff_max_ms) = (100, 50);
            },
            "setting scheduler.retry_backoff_ms must be at most \
             scheduler.retry_backoff_max_ms = 50, not 100",
        );
    }
}
