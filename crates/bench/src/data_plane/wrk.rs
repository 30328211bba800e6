//! wrk: as many requests as come through.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::{
    Failure,
    data_plane::ground::{Ground, Side},
};

/// The installed program, and the script that says what it sends.
#[derive(Debug)]
pub(crate) struct Wrk {
    pub(crate) program: PathBuf,
    pub(crate) script: PathBuf,
}

impl Wrk {
    /// Asks for whole seconds; how many requests were answered.
    pub(crate) async fn run(
        &self,
        ground: &Ground,
        url: &str,
        connections: u32,
        span: Duration,
    ) -> Result<f64, Failure> {
        let mut command = Command::from(ground.command(Side::World, &self.program));
        command
            .arg("-t1")
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", span.as_secs()))
            .args(["--timeout", "10s", "-s"])
            .arg(&self.script)
            .arg(url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = command.output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        requests(&text).map_err(|error| format!("wrk against {url}: {error}\n{text}").into())
    }
}

/// How many requests wrk says were answered; an error when one was not answered well.
fn requests(text: &str) -> Result<f64, String> {
    let lines = || text.lines().map(str::trim);
    let bad = |line: &&str| line.starts_with("Socket errors") || line.starts_with("Non-2xx");
    if let Some(line) = lines().find(bad) {
        return Err(line.to_owned());
    }
    let count = lines().find_map(|line| line.split_once(" requests in ")?.0.parse().ok());
    match count {
        Some(count) if count > 0.0 => Ok(count),
        _ => Err("no request was answered".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_failed_is_no_request() {
        let good = "  1 threads and 64 connections\n  9713 requests in 1.00s, 11.74MB read\n";
        assert_eq!(requests(good), Ok(9_713.0));
        let bad = "  Socket errors: connect 0, read 3, write 0, timeout 0";
        assert_eq!(requests(&format!("{good}{bad}\n")), Err(bad.trim().to_owned()));
        assert!(requests("  0 requests in 1.00s, 0.00B read\n").is_err());
        assert!(requests("unable to connect").is_err());
    }
}
