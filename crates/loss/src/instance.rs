//! The application behind the proxy: it says of every request which version answers, and with
//! bytes that follow from the request's number.

use std::{convert::Infallible, io::Write as _, pin::pin, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc, watch},
};

use crate::{
    content::{CLIENT, EVENTS, INSTANCE, POSTED, VERSION, content, event},
    paced::Paced,
};

/// Between two events of a long answer.
const EVENT_PAUSE: Duration = Duration::from_millis(25);

/// What is in flight after SIGTERM may take so long.
const PATIENCE: Duration = Duration::from_secs(30);

struct App {
    version: String,
    number: String,
}

/// Answers until SIGTERM, then until nothing is in flight any more; at once when its standard input
/// ends, which is what happens when whoever started it is gone. Says its port on its standard
/// output first.
pub fn run(version: &str, number: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let abandoned = Arc::new(Notify::new());
    let orphan = Arc::clone(&abandoned);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        orphan.notify_one();
    });
    let app = Arc::new(App { version: version.to_owned(), number: number.to_owned() });
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = serve(app) => outcome.map_err(|error| error.to_string())?,
            () = abandoned.notified() => Err("whoever started it is gone".to_owned()),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn serve(app: Arc<App>) -> std::io::Result<Result<(), String>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    let ending = watch::Sender::new(false);
    let (alive, mut all_ended) = mpsc::channel::<()>(1);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = terminate.recv() => break,
        };
        let (app, alive, ending) = (Arc::clone(&app), alive.clone(), ending.subscribe());
        tokio::spawn(converse(app, stream, ending, alive));
    }
    drop((listener, alive));
    ending.send_replace(true);
    match tokio::time::timeout(PATIENCE, all_ended.recv()).await {
        Ok(_) => Ok(Ok(())),
        Err(_) => Ok(Err("something was still in flight".to_owned())),
    }
}

async fn converse(
    app: Arc<App>,
    stream: TcpStream,
    mut ending: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request: Request<Incoming>| {
        let (app, alive) = (Arc::clone(&app), alive.clone());
        async move { Ok::<_, Infallible>(answer(&app, request, alive).await) }
    });
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    // That a connection breaks is seen by whoever is at its other end.
    tokio::select! {
        outcome = connection.as_mut() => return drop(outcome),
        () = told(&mut ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

async fn told(ending: &mut watch::Receiver<bool>) {
    // Whoever would tell is gone only when all of it is.
    let _ = ending.wait_for(|ending| *ending).await;
}

async fn answer(
    app: &App,
    mut request: Request<Incoming>,
    alive: mpsc::Sender<()>,
) -> Response<Paced> {
    let path = request.uri().path().to_owned();
    let mut words = path.split('/').skip(1);
    let what = words.next().unwrap_or_default();
    let number = words.next().and_then(|word| word.parse().ok());
    let length = words.next().and_then(|word| word.parse().ok()).unwrap_or(512);
    let Some(number) = number else {
        return app.response(StatusCode::NOT_FOUND, Paced::empty());
    };
    let version = app.version.as_str();
    match what {
        "get" => app.response(StatusCode::OK, Paced::whole(content(version, number, length))),
        "events" => {
            let events = (0..EVENTS).map(|index| event(version, number, index).into()).collect();
            let mut response =
                app.response(StatusCode::OK, Paced::parts(events, EVENT_PAUSE, false));
            let kind = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        "post" => {
            match request.into_body().collect().await.map(http_body_util::Collected::to_bytes) {
                Ok(body) if body == content(CLIENT, number, POSTED) => {
                    app.response(StatusCode::OK, Paced::whole(content(version, number, 512)))
                }
                _ => app.response(StatusCode::UNPROCESSABLE_ENTITY, Paced::empty()),
            }
        }
        "socket" => {
            let upgraded = upgrade::on(&mut request);
            let version = version.to_owned();
            tokio::spawn(async move {
                if let Ok(upgraded) = upgraded.await {
                    // As above: the other side sees how it ended.
                    let _ = echo(TokioIo::new(upgraded), &version).await;
                }
                drop(alive);
            });
            let mut response = app.response(StatusCode::SWITCHING_PROTOCOLS, Paced::empty());
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("unchecked"));
            response
        }
        _ => app.response(StatusCode::NOT_FOUND, Paced::empty()),
    }
}

impl App {
    fn response(&self, status: StatusCode, body: Paced) -> Response<Paced> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in [(VERSION, &self.version), (INSTANCE, &self.number)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Says every message again, with the version before it, until the client closes.
async fn echo<S>(mut stream: S, version: &str) -> std::io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        // First the kind, then the length, then the mask, which is all zeros here.
        let mut head = [0; 6];
        stream.read_exact(&mut head).await?;
        let mut text = vec![0; usize::from(head[1] & 0x7f)];
        stream.read_exact(&mut text).await?;
        let is_end = head[0] & 0x0f == 8;
        let mut said = if is_end { Vec::new() } else { format!("{version} ").into_bytes() };
        said.append(&mut text);
        let mut frame = vec![head[0], u8::try_from(said.len()).unwrap_or(0)];
        frame.append(&mut said);
        stream.write_all(&frame).await?;
        if is_end {
            return stream.shutdown().await;
        }
    }
}
