//! The coordinator's settings: bounds, all with defaults.

use std::{num::NonZeroUsize, path::PathBuf, thread::available_parallelism, time::Duration};

use keyloom_common::{
    http::{HttpJobsSettings, HttpSettings},
    log::LogSettings,
    memory::MemoryBudget,
    rpc::{Limits, ServerSecurity},
};
use keyloom_planner::{Grain, WriteGrain};
use serde::{Deserialize, Serialize};

use crate::{catalog::CatalogSettings, scheduler};

/// All settings of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the daemon listens, as `HOST:PORT`; port 0 is any that is free. Not in an embedded
    /// session, which nobody reaches. Default `127.0.0.1:7700`.
    pub listen: String,
    /// The address that the daemon says it has, where workers and clients reach it by another than
    /// it listens at: behind a forwarded port, or in a container. Default the one it listens at.
    pub advertise: Option<String>,
    /// Whether the daemon may listen where strangers can reach it unprotected. Default no.
    pub insecure_listen: bool,
    /// Bounds of connections.
    pub rpc: Limits,
    /// Who may connect.
    pub security: ServerSecurity,
    /// Stores and inputs that clients use by name.
    pub catalog: CatalogSettings,
    /// Bounds of the scheduler.
    pub scheduler: scheduler::Settings,
    /// Where the daemon tells how it is, and within which bounds.
    pub http: HttpSettings,
    /// Whether the daemon takes jobs there, and within which bounds.
    pub http_jobs: HttpJobsSettings,
    /// The log of the daemon; an embedded session writes that of the program that it is in.
    pub log: LogSettings,
    /// The most connections at once. Default 1024.
    pub max_connections: usize,
    /// A connection over which nothing was asked for so long is closed if all are taken, in
    /// milliseconds; its peer opens another when it wants something. Default 10 s.
    pub idle_connection_ms: u64,
    /// The most memory, in bytes, for all of this together: what is received, the operators that
    /// the coordinator runs itself, rows that wait for their turn, and results that wait for their
    /// clients. Each has a bound of its own within it. Where it is full, operators spill or fail
    /// their jobs by this name, rows go to files, and of results one chunk of each job waits all
    /// the same. Blobs are not in it, but have `blob_bytes` beside it: they can neither wait nor go
    /// to files and are held for minutes, so a few tables would take the memory of every job.
    /// Default 6 GiB.
    pub memory_bytes: u64,
    /// The most bytes that are received and not dealt with yet, of rows, plans and blobs on all
    /// connections: beyond, senders wait. A message that is larger is received alone. While others
    /// wait, a message has to come at 1 MiB a second after five seconds, or its connection is
    /// closed. They are set apart of `memory_bytes`, a quarter of it at most. Default 256 MiB.
    pub receive_bytes: u64,
    /// The most bytes of task outputs kept in memory; more goes to temporary files. 0 for none.
    /// Default 256 MiB.
    pub gather_memory_bytes: u64,
    /// How long an attempt whose rows are not due yet waits while half of that memory is taken, in
    /// milliseconds; then they are taken all the same. At most half of `rpc.call_timeout_ms`; 0 for
    /// no wait. Default 100 ms.
    pub gather_wait_ms: u64,
    /// The most bytes of task outputs in temporary files. Beyond, tasks whose rows are not due yet
    /// are put off. 0 for no files. Default 64 GiB.
    pub gather_disk_bytes: u64,
    /// A folder of the coordinator's own in which it keeps what it knows of jobs, and what it takes
    /// to go on with those that are detached and have outputs: the next coordinator knows it, too.
    /// Default none: what is known of jobs goes with the process.
    pub state_folder: Option<PathBuf>,
    /// The most jobs that are known after they have ended, those that run among them: the oldest go
    /// first. Default 1,000.
    pub max_remembered_jobs: usize,
    /// How long a job is known after it has ended, in milliseconds. What it has written and not
    /// committed then goes, too. Default 7 days.
    pub job_history_ms: u64,
    /// The most bytes of what is known of one job: of more, the counters of its plan go first.
    /// Default 64 KiB.
    pub job_record_bytes: usize,
    /// The most bytes of what is remembered of what happened to one job: of more, the oldest lines
    /// of the kind that came most often go first. Default 32 KiB.
    pub job_log_bytes: usize,
    /// How long the rows of a detached job wait for somebody to ask for them after it has ended, in
    /// milliseconds; in temporary files, of `gather_disk_bytes`. Default 1 hour.
    pub detached_result_ms: u64,
    /// The most bytes of what finished tasks have reported that wait to be written into
    /// `state_folder`; beyond, their stages wait. Default 16 MiB.
    pub journal_ahead_bytes: usize,
    /// The most bytes of rows in `state_folder`, of all jobs whose rows the coordinator computes,
    /// by which they go on when they are resumed; tasks beyond run again. 0 for none. Default
    /// 1 GiB.
    pub journal_rows_bytes: u64,
    /// Where temporary files are, in a folder of the coordinator's own that goes with it. Default
    /// the system's folder for such files.
    pub spill_folder: Option<PathBuf>,
    /// The most bytes of blobs (in-memory tables and stores) held for clients, beside
    /// `memory_bytes`. Default 8 GiB.
    pub blob_bytes: u64,
    /// How long a blob is held that no job uses, in milliseconds. Default 10 minutes.
    pub blob_ttl_ms: u64,
    /// The most memory for the operators that the coordinator runs itself, in bytes. One job takes
    /// three quarters of it at most. Default 4 GiB.
    pub operator_memory_bytes: usize,
    /// Threads that compute the coordinator's own part of plans: connections have others, however
    /// long that takes. 0 for twice as many as there are cores, and 4 at least. Default 0.
    pub plan_threads: usize,
    /// Freed memory that each arena of the daemon's allocator keeps for later use, in bytes; 0 for
    /// what the allocator does by itself (glibc only, and not in an embedded session). Less than 2
    /// GiB. Default 64 MiB.
    pub keep_freed_bytes: u64,
    /// How many result chunks of a job may wait for its client. Those of all jobs take a quarter of
    /// `memory_bytes`; where that is full, one of a job waits. Default 8.
    pub result_chunks_ahead: usize,
    /// A job whose client was not heard of for so long is cancelled, in milliseconds, though its
    /// connection is open. Clients say about each second that they are there. Default 10 minutes.
    pub client_timeout_ms: u64,
    /// A job whose client's connection has closed is cancelled after so many milliseconds, if the
    /// client does not come back. Default 3 s.
    pub client_gone_ms: u64,
    /// How long workers may take, one after the other, to make visible what a job has written, in
    /// milliseconds: then it is told that nobody knows whether they have. Default 10 minutes.
    pub commit_timeout_ms: u64,
    /// How long they may take to remove what a job has written that failed or was cancelled, in
    /// milliseconds: then it is told that it stays. Nobody waits for that. Default 5 minutes.
    pub abort_timeout_ms: u64,
    /// The most jobs that run, wait for their turn, or wait for their clients to read them.
    /// Default 1,024.
    pub max_jobs: usize,
    /// The most of these that are one client's, by the name that its certificate has; all that show
    /// a token alone are one. Operators have no such bound. Default 512.
    pub max_jobs_per_client: usize,
    /// The most jobs that run at once; others wait for their turn, planned, but without tasks. One
    /// that has waited for its client counts no more, so a job that nobody reads holds up no other.
    /// Default 256.
    pub max_running_jobs: usize,
    /// The most of these that are one client's: more wait for others of its own, and hold up nobody
    /// else's. Operators have no such bound. Default 128.
    pub max_running_jobs_per_client: usize,
    /// The most jobs that wait for their turn. Default 1,024.
    pub max_queued_jobs: usize,
    /// The most bytes of a job's plan. Default 12 MiB.
    pub max_plan_bytes: usize,
    /// The most tasks of a job. Default 1,048,576.
    pub max_tasks_per_job: u32,
    /// How many rows make a task, where the rows are known before: the coordinator's own that are
    /// sent to workers, and Parquet row groups. Default 32768.
    pub slice_rows: usize,
    /// The most tasks that one partition of files is cut into by rows: some read what stands before
    /// their rows, too. Default 8.
    pub row_slices: usize,
    /// The most bytes of the coordinator's own rows that are sent to a task. Default 16 MiB.
    pub slice_bytes: usize,
    /// The most rows of a task that writes an output, where they are known before: each task makes
    /// files of its own. Default 1,048,576.
    pub write_slice_rows: usize,
    /// The most bytes of such a task: of files and of tables in memory that it reads, of answers by
    /// the figures of the stores, and of the coordinator's own rows. Default 128 MiB.
    pub write_slice_bytes: usize,
    /// How many tasks write an output at least, where each has `slice_rows` rows: about as many as
    /// the workers have slots. Default 16.
    pub write_slices: usize,
    /// The most bytes of keys that are collected before a lookup, or before several that share
    /// them, so that a store much larger than the job is read once for them. With more, workers
    /// make maps of all the store's keys; 0 for that in any case. Less than 2 GiB. Default 256 MiB.
    pub max_key_set_bytes: u64,
    /// The most bytes by which a job knows the distinct keys that were asked of a store, and as
    /// many for those that were missed: they are counted exactly up to one for each eight bytes,
    /// and beyond there are about so many. Default 512 KiB.
    pub distinct_key_bytes: u64,
    /// The most bytes of rows that missed their keys, of a job that is to tell them one by one. Of
    /// more, it is told how many there are. Default 64 MiB.
    pub missed_row_bytes: u64,
    /// How many bytes of answers make a task, by the figures of the stores. Default 32 MiB.
    pub answer_bytes: u64,
    /// The most tasks that one partition is cut into by its answers. Default 64.
    pub answer_slices: usize,
}

/// The parts of [`Settings::memory_bytes`].
#[derive(Debug)]
pub(crate) struct Memory {
    /// For rows that wait for their turn.
    pub(crate) gathered: MemoryBudget,
    pub(crate) operators: MemoryBudget,
    /// For results that wait for their clients.
    pub(crate) results: MemoryBudget,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7700".to_owned(),
            advertise: None,
            insecure_listen: false,
            rpc: Limits::default(),
            security: ServerSecurity::default(),
            catalog: CatalogSettings::default(),
            scheduler: scheduler::Settings::default(),
            http: HttpSettings::default(),
            http_jobs: HttpJobsSettings::default(),
            log: LogSettings::default(),
            max_connections: 1024,
            idle_connection_ms: 10_000,
            memory_bytes: 6 << 30,
            receive_bytes: 256 << 20,
            gather_memory_bytes: 256 << 20,
            gather_wait_ms: 100,
            gather_disk_bytes: 64 << 30,
            state_folder: None,
            max_remembered_jobs: 1_000,
            job_history_ms: 7 * 24 * 3_600_000,
            job_record_bytes: 64 << 10,
            job_log_bytes: 32 << 10,
            detached_result_ms: 3_600_000,
            journal_ahead_bytes: 16 << 20,
            journal_rows_bytes: 1 << 30,
            spill_folder: None,
            blob_bytes: 8 << 30,
            blob_ttl_ms: 600_000,
            operator_memory_bytes: 4 << 30,
            plan_threads: 0,
            keep_freed_bytes: 64 << 20,
            result_chunks_ahead: 8,
            client_timeout_ms: 600_000,
            client_gone_ms: 3_000,
            commit_timeout_ms: 600_000,
            abort_timeout_ms: 300_000,
            max_jobs: 1_024,
            max_jobs_per_client: 512,
            max_running_jobs: 256,
            max_running_jobs_per_client: 128,
            max_queued_jobs: 1_024,
            max_plan_bytes: 12 << 20,
            max_tasks_per_job: 1 << 20,
            slice_rows: 32_768,
            row_slices: 8,
            slice_bytes: 16 << 20,
            write_slice_rows: 1 << 20,
            write_slice_bytes: 128 << 20,
            write_slices: 16,
            max_key_set_bytes: 256 << 20,
            distinct_key_bytes: 512 << 10,
            missed_row_bytes: 64 << 20,
            answer_bytes: 32 << 20,
            answer_slices: 64,
        }
    }
}

impl Settings {
    pub(crate) fn grain(&self) -> Grain {
        Grain {
            rows: self.slice_rows,
            row_slices: self.row_slices,
            answer_bytes: self.answer_bytes,
            answer_slices: self.answer_slices,
            write: WriteGrain {
                rows: self.write_slice_rows,
                bytes: self.write_slice_bytes as u64,
                slices: self.write_slices,
            },
        }
    }

    /// [`Self::receive_bytes`], within the whole.
    pub(crate) fn receive_bytes(&self) -> u64 {
        self.receive_bytes.min(self.memory_bytes / 4)
    }

    /// The memory of a process that has these settings. Senders must not wait for what others take,
    /// so what is received is none of it.
    pub(crate) fn memory(&self) -> Memory {
        let bytes = self.memory_bytes - self.receive_bytes();
        let all = MemoryBudget::new("memory_bytes beside receive_bytes", bytes);
        Memory {
            gathered: all.part("gather_memory_bytes", self.gather_memory_bytes),
            operators: all.part("operator_memory_bytes", self.operator_memory_bytes as u64),
            results: all.part("a quarter of memory_bytes", self.memory_bytes / 4),
        }
    }

    /// [`Self::plan_threads`], with what 0 stands for.
    pub(crate) fn plan_threads(&self) -> usize {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        if self.plan_threads == 0 { (2 * cores).max(4) } else { self.plan_threads }
    }

    /// [`Self::blob_ttl_ms`] as a duration.
    pub fn blob_ttl(&self) -> Duration {
        Duration::from_millis(self.blob_ttl_ms)
    }

    /// [`Self::gather_wait_ms`] as a duration.
    pub fn gather_wait(&self) -> Duration {
        Duration::from_millis(self.gather_wait_ms)
    }

    /// [`Self::idle_connection_ms`] as a duration.
    pub fn idle_connection(&self) -> Duration {
        Duration::from_millis(self.idle_connection_ms)
    }

    /// [`Self::detached_result_ms`] as a duration.
    pub fn detached_result(&self) -> Duration {
        Duration::from_millis(self.detached_result_ms)
    }

    /// [`Self::client_gone_ms`] as a duration.
    pub fn client_gone(&self) -> Duration {
        Duration::from_millis(self.client_gone_ms)
    }

    /// [`Self::client_timeout_ms`] as a duration.
    pub fn client_timeout(&self) -> Duration {
        Duration::from_millis(self.client_timeout_ms)
    }

    /// [`Self::commit_timeout_ms`] as a duration.
    pub fn commit_timeout(&self) -> Duration {
        Duration::from_millis(self.commit_timeout_ms)
    }

    /// [`Self::abort_timeout_ms`] as a duration.
    pub fn abort_timeout(&self) -> Duration {
        Duration::from_millis(self.abort_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(settings: &Settings) -> [u64; 4] {
        let Memory { gathered, operators, results } = settings.memory();
        [settings.receive_bytes(), gathered.bytes(), operators.bytes(), results.bytes()]
    }

    #[test]
    fn by_default_the_memory_has_room_for_all_its_parts() {
        let settings = Settings::default();
        assert!(parts(&settings).iter().sum::<u64>() <= settings.memory_bytes);
    }

    #[test]
    fn of_little_memory_senders_and_results_get_a_quarter_each_at_most() {
        let settings = Settings { memory_bytes: 400, ..Settings::default() };
        assert_eq!(parts(&settings), [100, 300, 300, 100]);
    }
}
