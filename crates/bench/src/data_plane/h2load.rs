//! h2load: as many requests by HTTP/2 as come through.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::{
    Failure,
    data_plane::ground::{Ground, Side},
};

/// Streams at a time on each connection, as a browser has.
const STREAMS: u32 = 16;

/// The installed program, and the cookie that it sends.
#[derive(Debug)]
pub(crate) struct H2load {
    pub(crate) program: PathBuf,
    pub(crate) cookie: String,
}

impl H2load {
    /// Asks for whole seconds over TLS; how many requests were answered.
    pub(crate) async fn run(
        &self,
        ground: &Ground,
        address: SocketAddr,
        connections: u32,
        path: &str,
        span: Duration,
    ) -> Result<f64, Failure> {
        let mut command = Command::from(ground.command(Side::World, &self.program));
        command
            .args(["-t1", &format!("-c{connections}"), &format!("-m{STREAMS}")])
            .arg(format!("--duration={}", span.as_secs()))
            .arg(format!("--header=cookie: {}", self.cookie))
            .arg(format!("https://{address}/{path}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = command.output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        requests(&text).map_err(|error| format!("h2load against {address}: {error}\n{text}").into())
    }
}

/// How many requests h2load says were answered; an error when one was not answered well, or not by
/// HTTP/2. Those still under way when the time was over are none.
fn requests(text: &str) -> Result<f64, String> {
    if !text.lines().any(|line| line.trim() == "Application protocol: h2") {
        return Err("it was not HTTP/2".to_owned());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("requests: ")).unwrap_or_default();
    let count = |word: &str| {
        let part = line.split(", ").find_map(|part| part.strip_suffix(word))?;
        part.trim().parse::<f64>().ok()
    };
    let codes = text.lines().find_map(|line| line.strip_prefix("status codes: "));
    let well = codes.and_then(|codes| codes.split(' ').next()?.parse::<f64>().ok());
    match (count("succeeded"), count("failed"), well) {
        (Some(succeeded), Some(0.0), Some(well)) if succeeded > 0.0 && well >= succeeded => {
            Ok(succeeded)
        }
        _ => Err("not every request was answered".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_failed_is_no_request() {
        let said = |failed: u32, protocol: &str| {
            format!(
                "Application protocol: {protocol}\n\
                 requests: 905 total, 920 started, 905 done, 900 succeeded, {failed} failed, \
                 0 errored, 0 timeout\n\
                 status codes: 900 2xx, 0 3xx, 0 4xx, 0 5xx\n"
            )
        };
        assert_eq!(requests(&said(0, "h2")), Ok(900.0));
        assert!(requests(&said(5, "h2")).is_err());
        assert!(requests(&said(0, "http/1.1")).is_err());
        assert!(requests("").is_err());
    }
}
