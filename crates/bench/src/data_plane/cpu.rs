//! What a server costs: the processor time and the memory of all of its processes.

use std::{fs, time::Duration};

use crate::Failure;

/// The time that a process and its descendants have run, user and system.
///
/// Where the kernel tells it, to the nanosecond: `/proc/PID/stat` counts the same in steps of
/// 10 ms, which is a percent of a sample.
pub(crate) fn processor_time(root: u32) -> Result<Duration, Failure> {
    let mut sum = Duration::ZERO;
    for pid in tree(root)? {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let nanos = text.split_whitespace().next().ok_or("a schedstat without figures")?;
            sum += Duration::from_nanos(nanos.parse()?);
        }
    }
    Ok(sum)
}

/// Resident and proportional memory of a process and its descendants, in MiB.
pub(crate) fn memory(root: u32) -> Result<(f64, f64), Failure> {
    let (mut resident, mut proportional) = (0.0, 0.0);
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        resident += mebibytes(&rollup, "Rss:")?;
        proportional += mebibytes(&rollup, "Pss:")?;
    }
    Ok((resident, proportional))
}

/// A line of `/proc/PID/smaps_rollup` in MiB.
pub(crate) fn mebibytes(rollup: &str, key: &str) -> Result<f64, Failure> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key));
    let line = line.ok_or_else(|| format!("the kernel does not tell {key}"))?;
    let kibibytes: u32 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(f64::from(kibibytes) / 1_024.0)
}

/// A process and its descendants.
fn tree(root: u32) -> Result<Vec<u32>, Failure> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            for child in children.split_whitespace() {
                found.push(child.parse()?);
            }
        }
    }
    Ok(found)
}
