//! How many files a daemon may have open. Each connection is one, too.

use std::io;

use anyhow::{Context, Result, ensure};

/// The most that a daemon opens beside what its settings count: temporary files, inputs of tasks,
/// connections that are refused, and the program's own.
const OTHERS: u64 = 512;

/// Lets the process have as many files open as the system allows at most, for a setting of which
/// each unit is so many.
///
/// # Errors
/// If that is fewer than the setting may need, naming both numbers. Until so many are open, all
/// works.
pub fn raise(setting: &str, value: usize, each: u64) -> Result<()> {
    let limit = Limit::read().context("the system does not tell how many files may be open")?;
    let needed = needed(value, each);
    let now = match limit.wanted(needed) {
        Some(wanted) if limit.set(wanted) => wanted,
        _ => limit.now,
    };
    check(setting, value, needed, now)
}

fn needed(value: usize, each: u64) -> u64 {
    (value as u64).saturating_mul(each).saturating_add(OTHERS)
}

fn check(setting: &str, value: usize, needed: u64, now: u64) -> Result<()> {
    ensure!(
        needed <= now,
        "{setting} = {value} may need {needed} open files, and the system allows {now}: raise its \
         hard limit (ulimit -Hn, or LimitNOFILE of a service), or lower {setting}"
    );
    Ok(())
}

/// The system's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    /// What holds now.
    now: u64,
    /// How far the process may raise that.
    most: u64,
}

impl Limit {
    fn read() -> io::Result<Self> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        #[expect(unsafe_code, reason = "getrlimit writes to the limit alone, which lives")]
        let code = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { now: limit.rlim_cur, most: limit.rlim_max })
    }

    /// What it is to be; none if it stays.
    fn wanted(self, needed: u64) -> Option<u64> {
        // Where there is no hard limit, systems refuse to have no limit at all.
        let wanted = if self.most == libc::RLIM_INFINITY { needed } else { self.most };
        Some(wanted).filter(|wanted| *wanted > self.now)
    }

    /// Sets what holds now, and says whether the system lets it.
    fn set(self, now: u64) -> bool {
        let limit = libc::rlimit { rlim_cur: now, rlim_max: self.most };
        #[expect(unsafe_code, reason = "setrlimit reads the limit alone, which lives")]
        let code = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        code == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_goes_as_far_as_the_system_lets_it() {
        let unlimited = libc::RLIM_INFINITY;
        let cases = [
            (1024, 1_048_576, Some(1_048_576)),
            (1024, 1024, None),
            (256, unlimited, Some(5000)),
            (8192, unlimited, None),
            (unlimited, unlimited, None),
        ];
        for (now, most, expected) in cases {
            assert_eq!(Limit { now, most }.wanted(5000), expected, "{now} of {most}");
        }
    }

    #[test]
    fn what_a_setting_needs_grows_with_it() {
        let needs = [needed(0, 1), needed(4096, 1), needed(256, 2), needed(usize::MAX, 2)];
        assert_eq!(needs, [512, 4608, 1024, u64::MAX]);
    }

    #[test]
    fn where_there_are_too_few_both_numbers_are_named() {
        assert!(check("max_connections", 4096, 4608, 4608).is_ok());
        let few = check("max_connections", 4096, 4608, 1024).unwrap_err();
        assert_eq!(
            few.to_string(),
            "max_connections = 4096 may need 4608 open files, and the system allows 1024: raise \
             its hard limit (ulimit -Hn, or LimitNOFILE of a service), or lower max_connections"
        );
    }

    #[test]
    fn a_process_has_what_it_may_have() {
        let before = Limit::read().unwrap();
        // Systems that these tests run on allow more than that.
        raise("max_connections", 1, 1).unwrap();
        let after = Limit::read().unwrap();
        assert_eq!(after.most, before.most);
        assert_eq!(after.wanted(needed(1, 1)), None, "{after:?}");
    }
}
