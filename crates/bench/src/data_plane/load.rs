//! Ways of asking, and who asks in them.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Failure,
    data_plane::{Subject, ground::Ground, h2load::H2load, wrk::Wrk},
};

/// One way of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) by: Protocol,
    pub(crate) connections: u32,
    pub(crate) path: &'static str,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http1OverTls,
    Http2OverTls,
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) wrk: Wrk,
    pub(crate) h2load: Option<H2load>,
}

impl Clients {
    /// Asks for whole seconds; how many requests were answered.
    pub(crate) async fn run(
        &self,
        ground: &Ground,
        subject: &Subject,
        load: Load,
        span: Duration,
    ) -> Result<f64, Failure> {
        let Load { by, connections, path } = load;
        let url = |scheme: &str, address: SocketAddr| format!("{scheme}://{address}/{path}");
        let secure = subject.secure.ok_or("without openssl nobody speaks TLS");
        match by {
            Protocol::Http1 => {
                self.wrk.run(ground, &url("http", subject.plain), connections, span).await
            }
            Protocol::Http1OverTls => {
                self.wrk.run(ground, &url("https", secure?), connections, span).await
            }
            Protocol::Http2OverTls => {
                let h2load = self.h2load.as_ref().ok_or("h2load is missing")?;
                h2load.run(ground, secure?, connections, path, span).await
            }
        }
    }

    /// Whether somebody can ask in this way.
    pub(crate) fn can(&self, subjects: &[Subject], by: Protocol) -> bool {
        let secure = subjects.iter().all(|subject| subject.secure.is_some());
        match by {
            Protocol::Http1 => true,
            Protocol::Http1OverTls => secure,
            Protocol::Http2OverTls => secure && self.h2load.is_some(),
        }
    }
}
