//! What the proxy tells of requests: metrics and the access log.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tidegate_proxy::Limits;
use tidegate_types::{AccessLog, QueryLogging, Share, data_plane::ProxyTable};

use crate::{
    harness::{Caller, Proxy, all, backend, eventually, get},
    upstream::Application,
};

fn logging(mut table: ProxyTable, path: &Path, sample: Share, query: QueryLogging) -> ProxyTable {
    table.gateway.access_log = Some(AccessLog { path: path.to_owned(), sample, query }.into());
    table
}

/// The lines of a file; panics when one is not JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn eventually_lines(path: &Path, count: usize) -> Vec<Value> {
    let lines = eventually("the lines are there", || {
        let lines = lines(path);
        (lines.len() >= count).then_some(lines)
    });
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn showing(mut table: ProxyTable, address: SocketAddr) -> ProxyTable {
    table.gateway.metrics = Some(address);
    table
}

/// The value of a sample whose name and labels contain all of these.
fn sample(text: &str, parts: &[&str]) -> Option<f64> {
    let mut found = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    let line = found.find(|line| !line.starts_with('#'))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn metrics_are_shown_where_the_environment_wants_it() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let metrics = free_address();
    let routes = || all(vec![backend("api@1", 100, &[application.address])]);
    let table = showing(proxy.table(routes()), metrics);
    let address = proxy.publish(&table).unwrap().address;
    for _ in 0..3 {
        assert_eq!(get(address, "/").status, 200);
    }
    assert_eq!(get(address, "/%zz").status, 400);
    let read = || {
        eventually("it listens", || std::net::TcpStream::connect(metrics).ok());
        Caller::connect(metrics).get("/metrics")
    };
    let answer = read();
    let content_type = answer.header("content-type");
    assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let of_api = "project=\"shop\",environment=\"production\",component=\"api\",revision=\"api@1\"";
    assert_eq!(sample(text, &["tidegate_requests_total{", of_api, "outcome=\"2xx\""]), Some(3.0));
    assert_eq!(sample(text, &["tidegate_requests_total{", of_api, "outcome=\"5xx\""]), Some(0.0));
    assert_eq!(sample(text, &["duration_seconds_count{", of_api]), Some(3.0));
    assert_eq!(sample(text, &["duration_seconds_bucket{", of_api, "le=\"+Inf\""]), Some(3.0));
    assert_eq!(sample(text, &["response_body_bytes_total{", of_api]), Some(15.0));
    assert_eq!(sample(text, &["unanswered_requests_total{", "\"malformed\""]), Some(1.0));
    assert_eq!(sample(text, &["access_log"]), None);
    // Nothing else is shown there, and it is no way into the environment.
    assert_eq!(Caller::connect(metrics).get("/").status, 404);
    assert_eq!(Caller::connect(metrics).post("/metrics", "x").status, 405);
    assert_eq!(Caller::connect(metrics).head("/metrics").status, 200);
    // It goes where the next table says.
    proxy.publish(&proxy.table(routes())).unwrap();
    eventually("it listens no more", || std::net::TcpStream::connect(metrics).err());
}

#[test]
fn an_address_that_is_taken_stops_no_traffic_and_is_tried_again() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = taken.local_addr().unwrap();
    let table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    let address = proxy.publish(&showing(table, metrics)).unwrap().address;
    assert_eq!(get(address, "/").status, 200);
    drop(taken);
    eventually("it listens", || std::net::TcpStream::connect(metrics).ok());
    assert_eq!(Caller::connect(metrics).get("/metrics").status, 200);
}

#[test]
fn each_request_leaves_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/access.log");
    let application = Application::start(|seen, stream| {
        let status = if seen.target().starts_with("/bad") { 500 } else { 200 };
        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 5\r\n\r\nhello");
        stream.get_mut().write_all(answer.as_bytes()).is_ok()
    });
    let proxy = Proxy::start();
    let mut routes = all(vec![backend("api@1", 100, &[application.address])]);
    routes[0].rule.path = "/a".to_owned();
    routes.push(crate::harness::route("/bad", vec![backend("api@1", 100, &[application.address])]));
    let table = logging(proxy.table(routes), &path, Share::ALL, QueryLogging::Keep);
    let address = proxy.publish(&table).unwrap().address;
    let mut caller = Caller::connect(address);
    let headers = "X-Request-Id: mine\r\nUser-Agent: test/1\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    assert_eq!(caller.get_with("/a/b?c=d", headers).status, 200);
    assert_eq!(caller.post("/bad", "123").status, 500);
    assert_eq!(caller.get("/nowhere").status, 404);
    assert_eq!(caller.get("/a").status, 200);
    let lines = eventually_lines(&path, 4);

    let first = &lines[0];
    for (name, wanted) in [
        ("scope", "shop/production"),
        ("id", "mine"),
        ("trace", "0af7651916cd43dd8448eb211c80319c"),
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("method", "GET"),
        ("host", "shop"),
        ("path", "/a/b"),
        ("query", "c=d"),
        ("agent", "test/1"),
        ("outcome", "2xx"),
        ("revision", "api@1"),
        ("instance", "api@1.1"),
    ] {
        assert_eq!(first[name], wanted, "{name}");
    }
    assert_eq!((&first["status"], &first["sent"]), (&Value::from(200), &Value::from(5)));
    let micros = |name: &str| first[name].as_u64().unwrap();
    assert!(micros("connect_us") <= micros("first_byte_us"));
    assert!(micros("first_byte_us") <= micros("total_us"));
    assert!(first.get("blame").is_none() && first.get("reason").is_none());
    let time = first["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");

    assert_eq!((&lines[1]["outcome"], &lines[1]["received"]), (&"5xx".into(), &3.into()));
    assert_eq!(lines[3].get("connect_us"), None, "the connection was there");
    assert_eq!(lines[1]["id"].as_str().unwrap().len(), 32, "the one that the endpoint got");
    assert_eq!((&lines[2]["status"], &lines[2]["reason"]), (&404.into(), &"no-route".into()));
    assert_eq!((lines[2].get("revision"), lines[2].get("outcome")), (None, None));
    let sent = lines[2]["sent"].as_u64().unwrap();
    assert!(sent > 10, "{sent}");
    assert_eq!(proxy.counted("api@1"), (3, 1));
}

#[test]
fn secrets_in_query_strings_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    for (query, name) in [(QueryLogging::Names, "names"), (QueryLogging::Drop, "drop")] {
        let path = folder.path().join(name);
        let routes = all(vec![backend("api@1", 100, &[application.address])]);
        let table = logging(proxy.table(routes), &path, Share::ALL, query);
        let address = proxy.publish(&table).unwrap().address;
        let mut caller = Caller::connect(address);
        let headers = "Authorization: Bearer SECRET\r\nCookie: a=SECRET\r\n\
                       Referer: http://shop/?token=SECRET\r\n";
        assert_eq!(caller.get_with("/a?token=SECRET&x=SECRET&SECRET", headers).status, 200);
        assert_eq!(caller.get_with("/%zz?token=SECRET", headers).status, 400);
        eventually_lines(&path, 2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("SECRET"), "{text}");
        assert_eq!(text.contains("\"query\":\"token&x\""), name == "names", "{text}");
    }
    assert!(application.seen()[0].target().contains("SECRET"), "the application gets it");
}

#[test]
fn hostile_requests_leave_valid_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let routes = all(vec![backend("api@1", 100, &[application.address])]);
    let table = logging(proxy.table(routes), &path, Share::ALL, QueryLogging::Keep);
    let address = proxy.publish(&table).unwrap().address;
    let requests: [&[u8]; 5] = [
        b"GET /\"}{,\\u0000? HTTP/1.1\r\nHost: shop\r\nUser-Agent: \"\\\t\x80\xff\xc3\x28\r\n\r\n",
        b"GET /%0a%0d%00?\"=\"&x='{} HTTP/1.1\r\nHost: shop\r\nUser-Agent: \xe2\x80\xae\r\n\r\n",
        b"BREW /a?<script> HTTP/1.1\r\nHost: shop\r\nX-Request-Id: \"\x9b31m\r\n\r\n",
        b"GET http://user:SECRET@other/ HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\"b\r\ntraceparent: --\r\n\r\n",
    ];
    let mut count = 0;
    for request in requests {
        let mut caller = Caller::connect(address);
        caller.send(request);
        let answer = caller.read_head().unwrap();
        if answer.status == 400 && answer.header("tidegate-reason").is_none() {
            // So little of a request that there is nothing to write down.
            continue;
        }
        count += 1;
        let line = eventually("its line is there", || {
            let lines = lines(&path);
            (lines.len() >= count).then(|| lines[count - 1].clone())
        });
        assert_eq!(line["status"], answer.status);
    }
    assert!(count >= 3, "{count}");
    let text = std::fs::read_to_string(&path).unwrap();
    let harmless = |character: char| character == '\n' || !character.is_control();
    assert!(text.chars().all(harmless) && !text.contains('\u{202e}'), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}

#[test]
fn failures_leave_lines_when_hardly_anything_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let application = Application::start(|seen, stream| match seen.target() {
        "/good" => {
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
        }
        "/bad" => {
            stream.get_mut().write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").is_ok()
        }
        _ => {
            let _ = stream.read(&mut [0; 1]);
            false
        }
    });
    let limits = Limits { answer_head: Duration::from_millis(200), ..Limits::default() };
    let proxy = Proxy::start_with(limits);
    let routes = all(vec![backend("api@1", 100, &[application.address])]);
    let table = logging(proxy.table(routes), &path, Share::NONE, QueryLogging::Names);
    let address = proxy.publish(&table).unwrap().address;
    let mut caller = Caller::connect(address);
    for _ in 0..50 {
        assert_eq!(caller.get("/good").status, 200);
    }
    assert_eq!(caller.get("/bad").status, 500);
    assert_eq!(caller.get("/hang").status, 504);
    let mut leaving = Caller::connect(address);
    leaving.send("GET /leave HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it has arrived", || {
        application.seen().iter().any(|seen| seen.target() == "/leave").then_some(())
    });
    drop(leaving);
    let lines = eventually_lines(&path, 3);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["path"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("/bad", "5xx"), ("/hang", "endpoint_timeout"), ("/leave", "client_reset")]);
    assert_eq!((&lines[1]["blame"], &lines[1]["reason"]), (&"endpoint".into(), &"timeout".into()));
    assert_eq!((&lines[2]["blame"], lines[2].get("status")), (&"client".into(), None));
}

#[test]
fn a_file_that_is_rotated_is_begun_anew_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let application = Application::saying("hello");
    let mut proxy = Proxy::start();
    let routes = all(vec![backend("api@1", 100, &[application.address])]);
    let table = logging(proxy.table(routes), &path, Share::ALL, QueryLogging::Names);
    let address = proxy.publish(&table).unwrap().address;
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get("/").status, 200);
    eventually_lines(&path, 1);
    let rotated = folder.path().join("access.log.1");
    std::fs::rename(&path, &rotated).unwrap();
    let mut sent = 1;
    eventually("it is begun anew", || {
        assert_eq!(caller.get("/").status, 200);
        sent += 1;
        (!lines(&path).is_empty()).then_some(())
    });
    // What is under way at the end is written, too.
    assert_eq!(caller.get("/last").status, 200);
    proxy.shutdown();
    proxy.join();
    let new = lines(&path);
    assert_eq!(new.last().unwrap()["path"], "/last");
    assert_eq!(lines(&rotated).len() + new.len(), sent + 1);
}

#[test]
fn a_full_disk_stops_no_request_and_what_is_lost_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let metrics = free_address();
    let routes = all(vec![backend("api@1", 100, &[application.address])]);
    let table = logging(proxy.table(routes), &path, Share::ALL, QueryLogging::Names);
    let address = proxy.publish(&showing(table, metrics)).unwrap().address;
    let mut caller = Caller::connect(address);
    for _ in 0..200 {
        assert_eq!(caller.get("/").status, 200);
    }
    eventually("it listens", || std::net::TcpStream::connect(metrics).ok());
    let count = |state: &str| {
        let answer = Caller::connect(metrics).get("/metrics");
        sample(answer.text(), &["access_log_lines_total", state]).unwrap()
    };
    eventually("all are lost", || (count("\"lost\"") >= 200.0).then_some(()));
    assert!(count("\"written\"").abs() < 0.5);
    // The disk has room again.
    std::fs::remove_file(&path).unwrap();
    eventually("it is written", || {
        assert_eq!(caller.get("/").status, 200);
        path.exists().then_some(())
    });
    let first = eventually("it is said", || lines(&path).into_iter().next());
    assert!(first["lost_lines"].as_u64().unwrap() >= 200, "{first}");
}

#[test]
fn a_log_at_a_relative_path_is_refused() {
    let proxy = Proxy::start();
    let table = logging(proxy.table(vec![]), Path::new("a.log"), Share::ALL, QueryLogging::Keep);
    let refused = proxy.publish(&table).unwrap_err().to_string();
    assert!(refused.contains("a.log") && refused.contains("absolute"), "{refused}");
}

#[test]
fn what_a_proxy_that_ends_cuts_off_is_its_own_doing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let application = Application::start(|_, stream| {
        let _ = stream.read(&mut [0; 1]);
        false
    });
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let mut proxy = Proxy::start_with(limits);
    let routes = all(vec![backend("api@1", 100, &[application.address])]);
    let table = logging(proxy.table(routes), &path, Share::NONE, QueryLogging::Names);
    let address = proxy.publish(&table).unwrap().address;
    let mut caller = Caller::connect(address);
    caller.send("GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    eventually("it has arrived", || (application.seen().len() == 1).then_some(()));
    proxy.shutdown();
    proxy.join();
    let lines = lines(&path);
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &"proxy_ended".into()));
    assert_eq!(lines[0]["blame"], "proxy");
}
