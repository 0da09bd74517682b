//! What a coordinator counts, for whoever watches over it. What is only the case now is read when
//! somebody asks ([`gauges`]).
//!
//! Counting is an atomic addition, for a chunk, a task or a connection at a time.

mod gauges;

use std::time::Duration;

use keyloom_common::{
    Error, Result,
    metrics::{
        Counters, Times, ending, endings, kinds, outcome, registered, registered_for, registry,
        text, times_by,
    },
    rpc::{ConnectionCounts, SecurityReloads},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};

pub(crate) use gauges::{Gauges, Share};

/// How the names of all of them begin.
const PREFIX: &str = "keyloom_coordinator";

/// The counters of a coordinator, and the registry that tells them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) gauges: Gauges,
    pub(crate) jobs: Jobs,
    pub(crate) tasks: Tasks,
    pub(crate) workers: Workers,
    pub(crate) bytes: Bytes,
    pub(crate) connections: ConnectionCounts,
    pub(crate) reloads: SecurityReloads,
}

/// What was written to temporary files of rows that wait for their turn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spills {
    pub(crate) bytes: Counter,
    pub(crate) chunks: Counter,
}

/// What became of jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    pub(crate) submitted: Counter,
    refused: Counters<1>,
    ended: Counters<2>,
    times: Times<1>,
    rows: Counter,
}

/// What became of tasks, and of attempts at them.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) finished: Counter,
    started: Counter,
    retried: Counter,
    failed: Counters<1>,
    pub(crate) put_off: Counter,
    questions: Counter,
}

/// Workers that came and went.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) registered: Counter,
    lost: Counters<1>,
    pub(crate) drained: Counter,
}

/// Bytes that came and went.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub(crate) task_rows: Counter,
    pub(crate) blobs: Counter,
    pub(crate) results: Counter,
    pub(crate) sent_blobs: Counter,
}

impl Metrics {
    pub(crate) fn new(spills: &Spills) -> Self {
        let mut registry = registry(PREFIX);
        let (bytes, chunks) = (spills.bytes.clone(), spills.chunks.clone());
        let help = "Bytes of rows that wait for their turn, written to temporary files";
        registry.register("spilled_bytes", help, bytes);
        registry.register("spilled_chunks", "Chunks of such rows", chunks);
        Self {
            gauges: Gauges::new(&mut registry),
            jobs: Jobs::new(&mut registry),
            tasks: Tasks::new(&mut registry),
            workers: Workers::new(&mut registry),
            bytes: Bytes::new(&mut registry),
            connections: ConnectionCounts::register(&mut registry, "connections"),
            reloads: SecurityReloads::register(&mut registry),
            registry,
        }
    }

    /// All of them, in the format of OpenMetrics.
    pub(crate) fn text(&self) -> String {
        text(&self.registry)
    }
}

impl Jobs {
    fn new(registry: &mut Registry) -> Self {
        let times: Times<1> = times_by();
        let help = "Seconds from when a job was accepted to its end";
        registry.register("job_duration_seconds", help, times.clone());
        Self {
            submitted: registered(registry, "jobs_submitted", "Jobs that were accepted"),
            refused: registered_for(registry, "jobs_refused", "Jobs that were refused", kinds()),
            ended: registered_for(registry, "jobs_ended", "Jobs that have ended", endings()),
            times,
            rows: registered(registry, "result_rows", "Rows of the results of jobs that succeeded"),
        }
    }

    /// A job was not let in, or could not begin.
    pub(crate) fn refuse(&self, error: &Error) {
        self.refused.get_or_create(&[("kind", error.kind().name())]).inc();
    }

    /// A job that was let in has ended after so long, with so many rows.
    pub(crate) fn end(&self, ended: &Result<u64>, took: Duration) {
        self.ended.get_or_create(&ending(ended)).inc();
        self.times.get_or_create(&[("outcome", outcome(ended))]).observe(took.as_secs_f64());
        if let Ok(rows) = ended {
            self.rows.inc_by(*rows);
        }
    }
}

impl Tasks {
    fn new(registry: &mut Registry) -> Self {
        let retried = "Attempts that were not the first of their tasks";
        let put_off = "Attempts that were stopped because there was no room for their rows";
        let questions = "Questions about stores and inputs that were given to workers";
        Self {
            finished: registered(registry, "tasks_finished", "Tasks that are done"),
            started: registered(registry, "attempts_started", "Attempts given to workers"),
            retried: registered(registry, "tasks_retried", retried),
            failed: registered_for(registry, "attempts_failed", "Attempts that failed", kinds()),
            put_off: registered(registry, "attempts_put_off", put_off),
            questions: registered(registry, "questions", questions),
        }
    }

    /// An attempt was given to a worker, the first of its task or another one.
    pub(crate) fn start(&self, is_first: bool) {
        self.started.inc();
        if !is_first {
            self.retried.inc();
        }
    }

    /// A question was given to a worker.
    pub(crate) fn ask(&self) {
        self.questions.inc();
    }

    /// An attempt has failed.
    pub(crate) fn fail(&self, error: &Error) {
        self.failed.get_or_create(&[("kind", error.kind().name())]).inc();
    }
}

impl Workers {
    fn new(registry: &mut Registry) -> Self {
        let help = "Workers that went without having drained";
        let reasons = ["silent", "disconnected"].map(|reason| [("reason", reason)]);
        Self {
            registered: registered(registry, "workers_registered", "Registrations of workers"),
            lost: registered_for(registry, "workers_lost", help, reasons),
            drained: registered(registry, "workers_drained", "Workers that went as they had said"),
        }
    }

    /// A worker went without having drained.
    pub(crate) fn lose(&self, reason: &'static str) {
        self.lost.get_or_create(&[("reason", reason)]).inc();
    }
}

impl Bytes {
    fn new(registry: &mut Registry) -> Self {
        let received = "Bytes of rows from workers, and of tables and stores from clients";
        let received: Counters<1> = registered(registry, "received_bytes", received);
        let sent = "Bytes of results to clients, and of plans, tables and stores to workers";
        let sent: Counters<1> = registered(registry, "sent_bytes", sent);
        Self {
            task_rows: received.get_or_create_owned(&[("what", "task_rows")]),
            blobs: received.get_or_create_owned(&[("what", "blobs")]),
            results: sent.get_or_create_owned(&[("what", "results")]),
            sent_blobs: sent.get_or_create_owned(&[("what", "blobs")]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.text();
        for line in lines {
            assert!(text.lines().any(|told| told == *line), "no '{line}' in\n{text}");
        }
    }

    #[test]
    fn jobs_are_counted_by_their_ends() {
        let metrics = Metrics::new(&Spills::default());
        let took = Duration::from_millis(2);
        metrics.jobs.submitted.inc_by(3);
        metrics.jobs.end(&Ok(40), took);
        metrics.jobs.end(&Err(Error::store("gone")), took);
        metrics.jobs.end(&Err(Error::cancelled("stopped")), took);
        metrics.jobs.refuse(&Error::invalid("wrong"));
        check(
            &metrics,
            &[
                "keyloom_coordinator_jobs_submitted_total 3",
                "keyloom_coordinator_jobs_ended_total{outcome=\"succeeded\",kind=\"none\"} 1",
                "keyloom_coordinator_jobs_ended_total{outcome=\"failed\",kind=\"store\"} 1",
                "keyloom_coordinator_jobs_ended_total{outcome=\"cancelled\",kind=\"none\"} 1",
                "keyloom_coordinator_jobs_refused_total{kind=\"invalid\"} 1",
                "keyloom_coordinator_jobs_refused_total{kind=\"resource_exhausted\"} 0",
                "keyloom_coordinator_job_duration_seconds_count{outcome=\"succeeded\"} 1",
                "keyloom_coordinator_result_rows_total 40",
            ],
        );
    }

    #[test]
    fn attempts_workers_and_spills_are_counted() {
        let spills = Spills::default();
        let metrics = Metrics::new(&spills);
        metrics.tasks.start(true);
        metrics.tasks.start(false);
        metrics.workers.lose("silent");
        metrics.workers.lose("disconnected");
        metrics.workers.drained.inc();
        spills.bytes.inc_by(100);
        let connection = metrics.connections.accept();
        check(
            &metrics,
            &[
                "keyloom_coordinator_attempts_started_total 2",
                "keyloom_coordinator_tasks_retried_total 1",
                "keyloom_coordinator_workers_lost_total{reason=\"silent\"} 1",
                "keyloom_coordinator_workers_lost_total{reason=\"disconnected\"} 1",
                "keyloom_coordinator_workers_drained_total 1",
                "keyloom_coordinator_spilled_bytes_total 100",
                "keyloom_coordinator_received_bytes_total{what=\"blobs\"} 0",
                "keyloom_coordinator_connections 1",
                "keyloom_coordinator_connections_accepted_total 1",
            ],
        );
        drop(connection);
        check(&metrics, &["keyloom_coordinator_connections 0"]);
    }
}
