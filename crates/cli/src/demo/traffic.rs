//! Visitors of the shop, all the time.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval_at, timeout},
};

use super::tally::{Answer, Tally, Visit};

/// A request without its whole answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How some visitors behave.
struct Habit {
    visitors: u32,
    /// Time between two requests of one visitor.
    pause: Duration,
    /// So many requests on one connection.
    requests: u32,
}

/// 325 requests a second: most by visitors who stay, some by visitors who come for one request.
const HABITS: [Habit; 2] = [
    Habit { visitors: 12, pause: Duration::from_millis(40), requests: 100 },
    Habit { visitors: 2, pause: Duration::from_millis(80), requests: 1 },
];

/// What visitors do, one after the other.
const WISHES: [Wish; 10] = [
    Wish::Products,
    Wish::Order,
    Wish::Products,
    Wish::Site("GET /"),
    Wish::Order,
    Wish::Products,
    Wish::Order,
    Wish::Site("GET /app.js"),
    Wish::Products,
    Wish::Order,
];

#[derive(Debug, Clone, Copy)]
enum Wish {
    Products,
    Order,
    /// A file of the static site.
    Site(&'static str),
}

impl Wish {
    /// The request without customer and body, as in `GET /`.
    const fn line(self) -> &'static str {
        match self {
            Self::Products => "GET /api/products",
            Self::Order => "POST /api/orders",
            Self::Site(line) => line,
        }
    }
}

/// Visitors who come until they are stopped.
pub(super) struct Traffic {
    shop: Arc<Shop>,
    visitors: JoinSet<()>,
}

struct Shop {
    address: SocketAddr,
    start: Instant,
    site: AtomicBool,
    closed: AtomicBool,
    number: AtomicU64,
    tally: Mutex<Tally>,
}

impl Traffic {
    /// Sends the first visitors to `address`, at first to the API only. Their times count from
    /// `start`.
    pub(super) fn begin(address: SocketAddr, start: Instant) -> Self {
        let shop = Arc::new(Shop {
            address,
            start,
            site: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            number: AtomicU64::new(0),
            tally: Mutex::default(),
        });
        let mut visitors = JoinSet::new();
        for habit in &HABITS {
            for index in 0..habit.visitors {
                // Evenly, not all at the same moment.
                let delay = habit.pause * index / habit.visitors;
                visitors.spawn(visit(Arc::clone(&shop), habit, delay));
            }
        }
        Self { shop, visitors }
    }

    /// From now on visitors look at the static site, too.
    pub(super) fn open_site(&self) {
        self.shop.site.store(true, Relaxed);
    }

    /// Lets everybody end what they are at, and tells what they saw.
    pub(super) async fn end(mut self) -> Tally {
        self.shop.closed.store(true, Relaxed);
        while let Some(ended) = self.visitors.join_next().await {
            if let Err(error) = ended {
                // What this one saw last is unknown, and unknown is no success.
                let why = format!("a visitor was lost: {error}");
                self.shop.add(Visit {
                    request: "a request",
                    begun: self.shop.start.elapsed(),
                    ended: self.shop.start.elapsed(),
                    answer: Answer::None { why },
                });
            }
        }
        self.shop.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shop {
    fn add(&self, visit: Visit) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(visit);
    }
}

type Connection = SendRequest<Full<Bytes>>;
type Unanswered = Box<dyn std::error::Error + Send + Sync>;

async fn visit(shop: Arc<Shop>, habit: &Habit, delay: Duration) {
    let mut ticks = interval_at(tokio::time::Instant::now() + delay, habit.pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    let mut used = 0;
    loop {
        ticks.tick().await;
        if shop.closed.load(Relaxed) {
            return;
        }
        let number = shop.number.fetch_add(1, Relaxed);
        let wish = wish(number, shop.site.load(Relaxed));
        let begun = shop.start.elapsed();
        let exchange = exchange(&mut connection, &shop, wish, number, used + 1 >= habit.requests);
        let answer = match timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::None { why: error.to_string() },
            Err(_) => Answer::None { why: format!("no answer in {} s", PATIENCE.as_secs()) },
        };
        used = if connection.is_some() { used + 1 } else { 0 };
        let ended = shop.start.elapsed();
        shop.add(Visit { request: wish.line(), begun, ended, answer });
    }
}

fn wish(number: u64, site: bool) -> Wish {
    let index = usize::try_from(number % WISHES.len() as u64).unwrap_or_default();
    match WISHES[index] {
        Wish::Site(_) if !site => Wish::Products,
        wish => wish,
    }
}

/// Customers come in no order, and each as often as another.
const fn customer(number: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 100_000
}

/// One request and its answer. What is left in `connection` can be used again.
async fn exchange(
    connection: &mut Option<Connection>,
    shop: &Shop,
    wish: Wish,
    number: u64,
    last: bool,
) -> Result<Answer, Unanswered> {
    let mut sender = None;
    if let Some(mut kept) = connection.take() {
        // One that the other side closed in between was not asked anything: nothing is lost.
        sender = kept.ready().await.is_ok().then_some(kept);
    }
    let mut sender = match sender {
        Some(sender) => sender,
        None => connect(shop.address).await?,
    };
    let response = sender.send_request(request(shop.address, wish, number, last)?).await?;
    let status = response.status().as_u16();
    let version = response.headers().get("shop-version").and_then(|value| value.to_str().ok());
    let version = version.map(str::to_owned);
    response.into_body().collect().await?;
    if !last && !sender.is_closed() {
        *connection = Some(sender);
    }
    Ok(Answer::Whole { status, version })
}

async fn connect(address: SocketAddr) -> Result<Connection, Unanswered> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when the sender is dropped; its faults come out of the sender.
    tokio::spawn(connection);
    Ok(sender)
}

fn request(
    address: SocketAddr,
    wish: Wish,
    number: u64,
    last: bool,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let (method, path) = wish.line().split_once(' ').unwrap_or(("GET", "/"));
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes())?)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header("Customer", customer(number).to_string());
    if last {
        request = request.header(header::CONNECTION, "close");
    }
    let body = match wish {
        Wish::Order => format!("product={}&quantity={}", number % 3 + 1, number % 5 + 1),
        Wish::Products | Wish::Site(_) => String::new(),
    };
    request.body(Full::new(body.into()))
}

/// The body of `path`.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Bytes, Unanswered> {
    let exchange = async {
        let request = Request::builder()
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::new()))?;
        let response = connect(address).await?.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(format!("answered with {status}").into()) }
    };
    timeout(PATIENCE, exchange).await?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn every_hundredth_customer_is_as_frequent_as_another() {
        let mut counts = [0_u32; 100];
        for number in 0..100_000 {
            counts[usize::try_from(customer(number) % 100).expect("it is small")] += 1;
        }
        let bad: u32 = counts[..8].iter().sum();
        assert!((7_500..8_500).contains(&bad), "{bad}");
    }

    #[test]
    fn the_site_is_left_alone_until_it_is_open() {
        let lines = |site| (0..20).map(|number| wish(number, site).line()).collect::<BTreeSet<_>>();
        assert_eq!(lines(false), BTreeSet::from(["GET /api/products", "POST /api/orders"]));
        assert_eq!(lines(true).len(), 4);
    }

    /// A shop that answers `answer` to every request, and closes each connection after `requests`.
    async fn shop(answer: &'static str, requests: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4_096];
                    for _ in 0..requests {
                        if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                            return;
                        }
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        address
    }

    async fn until(traffic: &Traffic, fits: impl Fn(&Tally) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !fits(&traffic.shop.tally.lock().expect("nobody panicked")) {
            assert!(Instant::now() < deadline, "what was waited for did not come");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn each_request_is_counted_once() {
        let whole = "HTTP/1.1 200 OK\r\nShop-Version: v1\r\nContent-Length: 2\r\n\r\nhi";
        let traffic = Traffic::begin(shop(whole, 1_000).await, Instant::now());
        traffic.open_site();
        until(&traffic, |tally| tally.sent >= 100).await;
        let tally = traffic.end().await;
        assert_eq!((tally.lost, tally.strange), (0, 0), "{:?}", tally.examples);
        assert_eq!(tally.seen("v1").answered, tally.sent);
    }

    #[tokio::test]
    async fn half_an_answer_is_none() {
        let half = "HTTP/1.1 200 OK\r\nShop-Version: v1\r\nContent-Length: 2\r\n\r\nh";
        let traffic = Traffic::begin(shop(half, 1).await, Instant::now());
        until(&traffic, |tally| tally.sent >= 20).await;
        let tally = traffic.end().await;
        assert_eq!(tally.lost, tally.sent);
        assert!(tally.versions.is_empty());
    }

    #[tokio::test]
    async fn a_closed_port_loses_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        drop(listener);
        let traffic = Traffic::begin(address, Instant::now());
        until(&traffic, |tally| tally.lost >= 10).await;
        let tally = traffic.end().await;
        assert_eq!(tally.lost, tally.sent);
    }
}
