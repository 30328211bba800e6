//! Maintenance: requests are kept away from the instances.

use std::net::SocketAddr;

use tidegate_types::Maintenance;

use crate::{
    harness::{Caller, Proxy, all, backend, get},
    upstream::Application,
};

fn publish(proxy: &Proxy, application: &Application, message: Option<&str>) -> SocketAddr {
    let mut table = proxy.table(all(vec![backend("api@1", 100, &[application.address])]));
    let message = message.map(str::to_owned);
    table.gateway.maintenance = Some(Maintenance { message });
    proxy.publish(&table).unwrap().address
}

#[test]
fn who_comes_is_told_in_the_form_that_is_asked_for() {
    let application = Application::saying("hello");
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let mut open = Caller::connect(address);
    assert_eq!(open.get("/").text(), "hello");
    publish(&proxy, &application, Some("Back at \"noon\" <b>"));
    for (accept, content_type, wanted) in [
        ("", "text/plain; charset=utf-8", "Back at \"noon\" <b>\n"),
        (
            "Accept: application/json\r\n",
            "application/json",
            "{\"from\":\"tidegate\",\"status\":503,\"reason\":\"maintenance\",\
             \"message\":\"Back at \\\"noon\\\" <b>\"}\n",
        ),
        (
            "Accept: text/html,*/*;q=0.8\r\n",
            "text/html; charset=utf-8",
            "<p>Back at &quot;noon&quot; &lt;b&gt;</p>",
        ),
    ] {
        let answer = open.get_with("/any/path", accept);
        assert_eq!((answer.status, answer.header("content-type")), (503, Some(content_type)));
        assert_eq!(answer.header("retry-after"), Some("60"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("tidegate-reason"), Some("maintenance"));
        let html = accept.contains("html");
        let text = answer.text();
        assert!(if html { text.contains(wanted) } else { text == wanted }, "{text}");
    }
    assert_eq!(open.post("/", "a body").status, 503);
    assert_eq!(open.head("/").status, 503);
    publish(&proxy, &application, None);
    assert!(open.get("/").text().starts_with("down for maintenance"));
    assert_eq!(application.seen().len(), 1);
    // What cannot be trusted is still said to be so.
    assert_eq!(open.get("/%zz").status, 400);

    proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    assert_eq!(get(address, "/").text(), "hello");
    assert_eq!(proxy.traffic().unanswered.maintenance, 6);
    assert_eq!(proxy.counted("api@1"), (2, 0), "it is no failure of anybody");
}

#[test]
fn it_goes_on_after_a_restart() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start();
    let address = publish(&proxy, &application, None);
    assert_eq!(get(address, "/").status, 503);
    proxy.shutdown();
    proxy.join();
    proxy.begin();
    assert_eq!(get(address, "/").header("tidegate-reason"), Some("maintenance"));
}
