//! How settings are checked: each against its bounds, and all that are wrong told in one error, by
//! their names as files have them. In the environment `__` stands for the dots.
//!
//! A wrong setting is refused at start: found later, it would be a loop without end, a panic of a
//! timer or rows that never come.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

/// What a process can address.
const ADDRESSABLE_BYTES: u64 = 1 << 47;

/// Milliseconds that something is waited for. Timers panic or end early beyond about two years.
pub const TIME_MS: RangeInclusive<u64> = 1..=YEAR_MS;

/// Milliseconds of a rest or a grace that may be none.
pub const REST_MS: RangeInclusive<u64> = 0..=YEAR_MS;

/// Milliseconds of what happens on a connection, up to a day. Some answers are waited for several
/// times as long, and the system takes hardly more for its probes.
pub const CALL_MS: RangeInclusive<u64> = 1..=24 * HOUR_MS;

/// Bytes in memory that there must be.
pub const BYTES: RangeInclusive<u64> = 1..=ADDRESSABLE_BYTES;

/// Bytes in memory of what may be kept or not.
pub const KEPT_BYTES: RangeInclusive<u64> = 0..=ADDRESSABLE_BYTES;

/// Bytes of what becomes one array, of strings perhaps, or is not there.
pub const ARRAY_BYTES: RangeInclusive<u64> = 0..=i32::MAX as u64;

/// Freed bytes that an allocator keeps: glibc takes a C integer.
pub const FREED_BYTES: RangeInclusive<u64> = 0..=i32::MAX as u64;

/// Rows that are handled together.
pub const ROWS: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// Tasks, files, connections and whatever else there may be many of.
pub const COUNT: RangeInclusive<u64> = 1..=1 << 20;

/// What is under way, or waits, at the same time.
pub const AT_ONCE: RangeInclusive<u64> = 1..=1 << 16;

/// What is wrong with settings, as far as they are checked.
#[derive(Debug, Default)]
pub struct Bounds {
    /// The section that is being checked; each part of its name is followed by a dot.
    section: String,
    wrong: Vec<Wrong>,
}

#[derive(Debug)]
struct Wrong {
    setting: String,
    rule: String,
}

impl Bounds {
    /// Checks settings.
    ///
    /// # Errors
    /// `invalid`, naming all settings that are wrong and what they must be.
    pub fn check(settings: impl FnOnce(&mut Self)) -> Result<()> {
        let mut bounds = Self::default();
        settings(&mut bounds);
        if bounds.wrong.is_empty() {
            return Ok(());
        }
        let wrong = bounds.wrong.iter().map(|wrong| {
            let Wrong { setting, rule } = wrong;
            format!("setting {setting} must be {rule}")
        });
        Err(Error::invalid(wrong.collect::<Vec<_>>().join("; ")))
    }

    /// Checks the settings of a section.
    pub fn section(&mut self, name: &str, settings: impl FnOnce(&mut Self)) {
        let outer = self.section.len();
        self.section.push_str(name);
        self.section.push('.');
        settings(self);
        self.section.truncate(outer);
    }

    /// A number that has a least and a largest value.
    pub fn within(&mut self, name: &str, value: impl TryInto<u64>, range: RangeInclusive<u64>) {
        // No setting is wider than 64 bits.
        let value = value.try_into().unwrap_or(u64::MAX);
        if !range.contains(&value) {
            let (least, most) = range.into_inner();
            self.refuse(name, format!("between {least} and {most}, not {value}"));
        }
    }

    /// A number that must not be larger than another setting.
    pub fn at_most(&mut self, one: (&str, u64), other: (&str, u64)) {
        self.at_most_a_share(one, ("", 1), other);
    }

    /// A number that must be well below another setting.
    pub fn at_most_half(&mut self, one: (&str, u64), other: (&str, u64)) {
        self.at_most_a_share(one, ("half of ", 2), other);
    }

    /// Of two numbers one of which is wrong by itself, no more is to be said.
    fn at_most_a_share(
        &mut self,
        (name, value): (&str, u64),
        (share, divisor): (&str, u64),
        (other, most): (&str, u64),
    ) {
        if value > most / divisor && !self.is_wrong(name) && !self.is_wrong(other) {
            let other = self.path(other);
            self.refuse(name, format!("at most {share}{other} = {most}, not {value}"));
        }
    }

    /// What is wrong in another way: the rule says what the setting must be.
    pub fn refuse(&mut self, name: &str, rule: String) {
        let setting = self.path(name);
        self.wrong.push(Wrong { setting, rule });
    }

    fn is_wrong(&self, name: &str) -> bool {
        let path = self.path(name);
        self.wrong.iter().any(|wrong| wrong.setting == path)
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn check(settings: impl FnOnce(&mut Bounds), expected: &str) {
        let error = Bounds::check(settings).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, expected));
    }

    #[test]
    fn both_ends_of_a_range_are_within_it() {
        let checked = Bounds::check(|bounds| {
            bounds.within("least", 1_u32, 1..=9);
            bounds.within("most", 9_usize, 1..=9);
            bounds.at_most(("equal", 9), ("other", 9));
            bounds.at_most_half(("half", 4), ("other", 9));
        });
        assert_eq!(checked, Ok(()));
    }

    #[test]
    fn all_that_is_wrong_is_named_by_its_section() {
        let settings = |bounds: &mut Bounds| {
            bounds.section("a", |bounds| {
                bounds.section("b", |bounds| bounds.within("c", 0_u64, 1..=9));
                bounds.within("d", 10_usize, 1..=9);
            });
            bounds.within("e", 10_u32, 0..=9);
        };
        check(
            settings,
            "setting a.b.c must be between 1 and 9, not 0; \
             setting a.d must be between 1 and 9, not 10; \
             setting e must be between 0 and 9, not 10",
        );
    }

    #[test]
    fn settings_that_do_not_go_together_name_each_other() {
        check(
            |bounds| bounds.section("a", |bounds| bounds.at_most(("b", 8), ("c", 7))),
            "setting a.b must be at most a.c = 7, not 8",
        );
        check(
            |bounds| bounds.at_most_half(("a.b", 4), ("c", 7)),
            "setting a.b must be at most half of c = 7, not 4",
        );
    }

    #[test]
    fn what_is_wrong_by_itself_is_told_once() {
        let settings = |bounds: &mut Bounds| {
            bounds.section("a", |bounds| bounds.within("b", 0_u64, 1..=9));
            bounds.at_most(("c", 5), ("a.b", 0));
            bounds.at_most(("a.b", 0), ("c", 5));
        };
        check(settings, "setting a.b must be between 1 and 9, not 0");
    }
}
