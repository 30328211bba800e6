//! Visitors who come again: each request brings the cookie of one of them.

use std::{net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    Failure,
    data_plane::ground::{Ground, write},
};

/// Enough that a tenth of them is about a tenth.
const VISITORS: usize = 200;

/// Lets Tidegate give cookies to new visitors.
pub(super) async fn cookies(tidegate: SocketAddr) -> Result<Vec<String>, Failure> {
    let mut cookies = Vec::with_capacity(VISITORS);
    let stream = TcpStream::connect(tidegate).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for _ in 0..VISITORS {
        let request = Request::get("/1k").header(header::HOST, tidegate.to_string());
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let given = response.headers().get(header::SET_COOKIE).ok_or("no cookie was given")?;
        let pair = given.to_str()?.split(';').next().unwrap_or_default().to_owned();
        response.into_body().collect().await?;
        cookies.push(pair);
    }
    Ok(cookies)
}

/// Writes a script for wrk that sends them in turn.
pub(super) fn script(ground: &Ground, cookies: &[String]) -> Result<PathBuf, Failure> {
    let list: Vec<String> = cookies.iter().map(|cookie| format!("\"{cookie}\"")).collect();
    // The requests are made before the first is sent, so that they cost their sender little.
    let text = format!(
        "local cookies = {{ {} }}\n\
         local requests = {{}}\n\
         local turn = 0\n\
         init = function()\n  \
           for at, cookie in ipairs(cookies) do\n    \
             requests[at] = wrk.format(nil, nil, {{ Cookie = cookie }})\n  \
           end\n\
         end\n\
         request = function()\n  \
           turn = turn % #requests + 1\n  \
           return requests[turn]\n\
         end\n",
        list.join(", ")
    );
    let path = ground.path().join("visitors.lua");
    write(&path, text)?;
    Ok(path)
}
