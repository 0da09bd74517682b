//! What the settings of a cluster within the process may be, all together.

use std::ops::RangeInclusive;

use keyloom_common::{Error, Result, bounds::Bounds};

use super::EmbeddedSettings;

/// Each is a thread or two.
const WORKERS: RangeInclusive<u64> = 1..=4096;

impl EmbeddedSettings {
    /// Checks all settings, and whether those of the three parts go together. That a session can be
    /// its own cluster with them, [`EmbeddedSettings::check_ports`] tells.
    ///
    /// # Errors
    /// `invalid`, naming all that are wrong.
    pub fn validate(&self) -> Result<()> {
        Bounds::check(|bounds| {
            if let Some(workers) = self.workers {
                bounds.within("workers", workers, WORKERS);
            }
            bounds.section("session", |bounds| self.session.check(bounds));
            bounds.section("coordinator", |bounds| self.coordinator.check(bounds));
            bounds.section("worker", |bounds| self.worker.check(bounds));
            self.check_together(bounds);
        })
    }

    /// Checks that no port is asked for: a session that is its own cluster has none, and a port that
    /// nobody opens must not pass for one that is open. On a cluster, whose daemons have their
    /// own, it does not matter what these settings say.
    ///
    /// # Errors
    /// `invalid`, naming the settings.
    pub fn check_ports(&self) -> Result<()> {
        match (&self.coordinator.http.listen, &self.worker.http.listen) {
            (None, None) => self.check_shuffles(),
            _ => Err(Error::invalid(
                "settings coordinator.http.listen and worker.http.listen are for \
                 keyloom-coordinator and keyloom-worker: a session that is its own cluster has no \
                 HTTP port",
            )),
        }
    }

    fn check_shuffles(&self) -> Result<()> {
        match &self.worker.shuffle.listen {
            None => Ok(()),
            Some(_) => Err(Error::invalid(
                "setting worker.shuffle.listen is for keyloom-worker: in a session that is its own \
                 cluster, rows are not sent from one worker to another",
            )),
        }
    }

    /// How long the coordinator may take must suit those who call it.
    fn check_together(&self, bounds: &mut Bounds) {
        let (coordinator, worker) = (&self.coordinator, &self.worker);
        let silence = coordinator.scheduler.heartbeat_timeout_ms;
        bounds.at_most_half(
            ("worker.heartbeat_ms", worker.heartbeat_ms),
            ("coordinator.scheduler.heartbeat_timeout_ms", silence),
        );
        let of_worker = ("worker.rpc.call_timeout_ms", worker.rpc.call_timeout_ms);
        let of_session = ("session.rpc.call_timeout_ms", self.session.rpc.call_timeout_ms);
        for call in [of_session, of_worker] {
            let poll = ("coordinator.rpc.long_poll_ms", coordinator.rpc.long_poll_ms);
            bounds.at_most_half(poll, call);
        }
        let wait = ("coordinator.gather_wait_ms", coordinator.gather_wait_ms);
        bounds.at_most_half(wait, of_worker);
    }
}

#[cfg(test)]
mod tests {
    use figment::{Figment, providers::Serialized, value::Value};
    use keyloom_common::{Error, ErrorKind};

    use super::*;

    /// Settings whose documentation says what 0 means.
    const MAY_BE_ZERO: [&str; 21] = [
        "coordinator.gather_disk_bytes",
        "coordinator.gather_memory_bytes",
        "coordinator.gather_wait_ms",
        "coordinator.http_jobs.store_bytes",
        "coordinator.journal_rows_bytes",
        "coordinator.keep_freed_bytes",
        "coordinator.max_key_set_bytes",
        "coordinator.plan_threads",
        "coordinator.scheduler.retry_backoff_ms",
        "coordinator.scheduler.retry_elsewhere_ms",
        "coordinator.scheduler.shuffle_wait_ms",
        "worker.drain_timeout_ms",
        "worker.keep_freed_bytes",
        "worker.lookup.missing_keys_named",
        "worker.output.upsert_retries",
        "worker.store.answer_cache_bytes",
        "worker.store.column_cache_bytes",
        "worker.store.lance_index_cache_bytes",
        "worker.store.lance_metadata_cache_bytes",
        "worker.store.lance_page_cache_bytes",
        "worker.store.max_key_map_bytes",
    ];

    fn usual() -> EmbeddedSettings {
        EmbeddedSettings { workers: Some(1), ..EmbeddedSettings::default() }
    }

    /// The paths of all settings that are numbers.
    fn numbers() -> Vec<String> {
        let mut paths = Vec::new();
        add_numbers("", &Value::serialize(usual()).unwrap(), &mut paths);
        paths
    }

    fn add_numbers(path: &str, value: &Value, paths: &mut Vec<String>) {
        match value {
            Value::Num(..) => paths.push(path.to_owned()),
            Value::Dict(_, section) => {
                let dot = if path.is_empty() { "" } else { "." };
                for (name, value) in section {
                    add_numbers(&format!("{path}{dot}{name}"), value, paths);
                }
            }
            _ => {}
        }
    }

    /// The usual settings but one, unless it cannot hold that number.
    fn with(path: &str, value: u64) -> Option<EmbeddedSettings> {
        let figment = Figment::from(Serialized::defaults(usual()));
        figment.merge(Serialized::default(path, value)).extract().ok()
    }

    /// It is said what the setting must be, and nothing else.
    fn check_names(path: &str, error: &Error) {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
        let message = error.message();
        assert!(message.starts_with(&format!("setting {path} must be between ")), "{message}");
        assert!(!message.contains(';'), "{message}");
    }

    fn check(change: impl FnOnce(&mut EmbeddedSettings), expected: &str) {
        let mut settings = usual();
        change(&mut settings);
        let error = settings.validate().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected));
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(EmbeddedSettings::default().validate(), Ok(()));
        assert_eq!(usual().validate(), Ok(()));
    }

    #[test]
    fn a_port_that_nobody_opens_is_refused() {
        let refused = "settings coordinator.http.listen and worker.http.listen are for \
                       keyloom-coordinator and keyloom-worker: a session that is its own cluster \
                       has no HTTP port";
        let listen = || Some("127.0.0.1:0".to_owned());
        let (mut of_worker, mut of_coordinator) = (usual(), usual());
        of_worker.worker.http.listen = listen();
        of_coordinator.coordinator.http.listen = listen();
        for settings in [of_worker, of_coordinator] {
            assert_eq!(settings.check_ports(), Err(Error::invalid(refused)));
            // On a cluster, they are told to have no effect.
            assert_eq!(settings.validate(), Ok(()));
        }
        assert_eq!(usual().check_ports(), Ok(()));
        let mut shuffles = usual();
        shuffles.worker.shuffle.listen = listen();
        let error = shuffles.check_ports().unwrap_err();
        assert!(error.message().starts_with("setting worker.shuffle.listen is for"), "{error}");
    }

    #[test]
    fn every_number_has_a_largest_value() {
        assert!(numbers().len() > MAY_BE_ZERO.len());
        for path in numbers() {
            let largest = with(&path, u64::MAX).or_else(|| with(&path, u32::MAX.into()));
            check_names(&path, &largest.unwrap().validate().expect_err(&path));
        }
    }

    #[test]
    fn zero_is_refused_where_it_means_nothing() {
        let mut may_be_zero = Vec::new();
        for path in numbers() {
            match with(&path, 0).unwrap().validate() {
                Ok(()) => may_be_zero.push(path),
                Err(error) => check_names(&path, &error),
            }
        }
        assert_eq!(may_be_zero, MAY_BE_ZERO);
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        check(
            |settings| {
                settings.coordinator.scheduler.heartbeat_timeout_ms = 10_000;
                settings.worker.heartbeat_ms = 5_001;
            },
            "setting worker.heartbeat_ms must be at most half of \
             coordinator.scheduler.heartbeat_timeout_ms = 10000, not 5001",
        );
        check(
            |settings| {
                settings.coordinator.rpc.long_poll_ms = 600;
                settings.session.rpc.long_poll_ms = 100;
                settings.session.rpc.call_timeout_ms = 1_000;
            },
            "setting coordinator.rpc.long_poll_ms must be at most half of \
             session.rpc.call_timeout_ms = 1000, not 600",
        );
        check(
            |settings| {
                settings.coordinator.gather_wait_ms = 2_001;
                settings.worker.rpc.call_timeout_ms = 4_000;
            },
            "setting coordinator.gather_wait_ms must be at most half of \
             worker.rpc.call_timeout_ms = 4000, not 2001",
        );
    }
}
