//! What the settings of a session may be.

use std::ops::RangeInclusive;

use keyloom_common::{
    Result,
    bounds::{BYTES, Bounds, COUNT, ROWS},
};

use crate::settings::Settings;

/// A batch is an array a column, and many arrays end at 2 GiB.
const BATCH_ROWS: RangeInclusive<u64> = 1..=1 << 24;

impl Settings {
    /// Checks all settings.
    ///
    /// # Errors
    /// `invalid`, naming all that are wrong.
    pub fn validate(&self) -> Result<()> {
        Bounds::check(|bounds| self.check(bounds))
    }

    pub(crate) fn check(&self, bounds: &mut Bounds) {
        bounds.section("rpc", |bounds| self.rpc.check(bounds));
        bounds.within("batch_rows", self.batch_rows, BATCH_ROWS);
        bounds.within("task_bytes", self.task_bytes, BYTES);
        bounds.within("task_files", self.task_files, COUNT);
        bounds.within("task_rows", self.task_rows, ROWS);
        bounds.within("large_task_rows", self.large_task_rows, ROWS);
        bounds.within("task_memory_bytes", self.task_memory_bytes, BYTES);
        bounds.within("max_tasks", self.max_tasks, COUNT);
        self.shuffles().check(bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Settings::default().validate(), Ok(()));
    }

    #[test]
    fn a_session_names_its_settings_without_a_section() {
        let settings = Settings { batch_rows: 0, max_tasks: 0, ..Settings::default() };
        assert_eq!(
            settings.validate().unwrap_err().message(),
            "setting batch_rows must be between 1 and 16777216, not 0; \
             setting max_tasks must be between 1 and 1048576, not 0"
        );
    }
}
