//! What the kernel counted for a process.

use std::fs;

use anyhow::{Context, Result};

/// The kernel counts processor time in hundredths of a second, on every Linux there is.
const TICKS_A_SECOND: f64 = 100.0;

/// The most memory that a process held, in bytes.
pub(crate) fn peak_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("{path} has no VmHWM"))? * 1024)
}

/// The processor time that a process has used, in seconds.
pub(crate) fn processor_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name of the program stands in parentheses and may hold spaces; user and system time are
    // the 14th and 15th field, the 12th and 13th behind it.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ')).into_iter().flatten();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks[..] else { anyhow::bail!("{path} has no processor times") };
    Ok((user + system) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_counted() -> Result<()> {
        assert!(peak_bytes(std::process::id())? > 1 << 20);
        assert!(processor_seconds(std::process::id())? >= 0.0);
        Ok(())
    }
}
