//! Visitors who stay with one revision (invariant 24).

use std::{collections::BTreeMap, fs, net::SocketAddr};

use tidegate_types::{
    Handling, RevisionId, Share, Sticky,
    data_plane::{ProxyBackend, ProxyRoute, Upstream},
};

use crate::{
    harness::{Answer, Caller, Proxy, backend, route},
    upstream::Application,
};

/// As many come that both revisions surely have some of them at every share that is tried.
const VISITORS: usize = 120;

/// Applications `old` and `new`, the new one with a share.
struct World {
    old: Application,
    new: Application,
    proxy: Proxy,
    sticky: Sticky,
}

impl World {
    fn new(sticky: Sticky) -> Self {
        let (old, new) = (Application::saying("old"), Application::saying("new"));
        Self { old, new, proxy: Proxy::start(), sticky }
    }

    fn share(&self, percent: u32) -> SocketAddr {
        self.share_of("api@2", percent)
    }

    fn share_of(&self, candidate: &str, percent: u32) -> SocketAddr {
        let backends = vec![
            in_role(backend("api@1", 100 - percent, &[self.old.address]), "stable"),
            in_role(backend(candidate, percent, &[self.new.address]), "candidate"),
        ];
        self.proxy.route(vec![handled(route("/", backends), &self.sticky)])
    }
}

fn in_role(mut backend: ProxyBackend, role: &str) -> ProxyBackend {
    role.clone_into(&mut backend.role);
    backend
}

fn handled(mut route: ProxyRoute, sticky: &Sticky) -> ProxyRoute {
    route.rule.handling = Handling { sticky: Some(sticky.clone()), ..Handling::default() };
    route
}

/// The cookie that an answer gives, without its attributes.
fn cookie(answer: &Answer) -> Option<String> {
    let cookie = answer.header("set-cookie")?;
    cookie.starts_with("tidegate-visitor=").then(|| cookie.split(';').next().unwrap().to_owned())
}

/// Everybody comes once with their header, and sees something.
fn visit(address: SocketAddr, visitors: &[String]) -> Vec<String> {
    let mut caller = Caller::connect(address);
    visitors.iter().map(|header| caller.get_with("/", header).text().to_owned()).collect()
}

/// Visitors with the cookies that they got with their first answer.
fn with_cookies(address: SocketAddr) -> (Vec<String>, Vec<String>) {
    let mut caller = Caller::connect(address);
    (0..VISITORS)
        .map(|_| {
            let answer = caller.get("/");
            let header = format!("Cookie: {}\r\n", cookie(&answer).unwrap());
            (header, answer.text().to_owned())
        })
        .unzip()
}

fn count(seen: &[String], text: &str) -> usize {
    seen.iter().filter(|seen| *seen == text).count()
}

/// From no share to all of it and from there to another candidate, and back in between.
fn stays(world: &World, visitors: &[String], first: &[String]) {
    let half = visit(world.share(50), visitors);
    let address = world.share(50);
    assert_eq!(visit(address, visitors), half, "nobody moves while the shares stay");
    for (before, now) in first.iter().zip(&half) {
        assert!(before == now || (before.as_str(), now.as_str()) == ("old", "new"));
    }
    let grown = count(&half, "new") > count(first, "new");
    assert!(grown && count(&half, "old") > 0, "{first:?} {half:?}");
    assert_eq!(count(&visit(world.share(100), visitors), "new"), visitors.len());
    assert_eq!(visit(world.share(50), visitors), half, "the same share has the same visitors");
    assert_eq!(count(&visit(world.share(0), visitors), "old"), visitors.len());
    let other = visit(world.share_of("api@3", 50), visitors);
    assert_ne!(other, half, "another rollout has other guinea pigs");
}

#[test]
fn a_visitor_with_a_cookie_moves_at_most_once_and_back_on_abort() {
    let world = World::new(Sticky::Cookie);
    let (visitors, first) = with_cookies(world.share(10));
    assert_eq!(visit(world.share(10), &visitors), first, "the first answer was theirs already");
    stays(&world, &visitors, &first);
}

#[test]
fn a_visitor_with_a_header_moves_at_most_once_and_back_on_abort() {
    let world = World::new(Sticky::Header("x-user".into()));
    let visitors: Vec<String> =
        (0..VISITORS).map(|number| format!("X-User: user-{number}\r\n")).collect();
    let first = visit(world.share(10), &visitors);
    stays(&world, &visitors, &first);
    let answer = Caller::connect(world.share(50)).get_with("/", &visitors[0]);
    assert_eq!(answer.header("set-cookie"), None);
    let seen = [world.old.seen(), world.new.seen()].concat();
    assert!(seen.iter().all(|seen| seen.header("x-user").is_some()), "it is the application's");
    // Nobody in particular is divided by request.
    let address = world.share(50);
    let seen = visit(address, &vec![String::new(); 200]);
    assert!(count(&seen, "old") > 0 && count(&seen, "new") > 0);
}

#[test]
fn a_restarted_proxy_leaves_everybody_where_they_were() {
    let mut world = World::new(Sticky::Cookie);
    let address = world.share(50);
    let (visitors, first) = with_cookies(address);
    world.proxy.shutdown();
    world.proxy.join();
    world.proxy.begin();
    assert_eq!(visit(address, &visitors), first);
    let answer = Caller::connect(address).get_with("/", &visitors[0]);
    assert_eq!(cookie(&answer), None, "it is known");
    // Without the key nobody is known, and everybody is served.
    world.proxy.shutdown();
    world.proxy.join();
    fs::write(world.proxy.home().join("visitors.key"), "damaged").unwrap();
    world.proxy.begin();
    let answer = Caller::connect(address).get_with("/", &visitors[0]);
    assert_eq!(answer.status, 200);
    assert!(cookie(&answer).is_some());
}

#[test]
fn a_cookie_that_was_not_signed_here_is_replaced() {
    let world = World::new(Sticky::Cookie);
    let mut caller = Caller::connect(world.share(50));
    let good = cookie(&caller.get("/")).unwrap();
    let last = if good.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &good[..good.len() - 1]);
    for (header, known) in [
        (format!("Cookie: {good}\r\n"), true),
        (format!("Cookie: {forged}\r\n"), false),
        (format!("Cookie: {forged}; a=1; {good}\r\n"), true),
        ("Cookie: tidegate-visitor=\r\n".to_owned(), false),
        ("Cookie: a=1\r\n".to_owned(), false),
    ] {
        let given = cookie(&caller.get_with("/", &header));
        assert_eq!(given.is_none(), known, "{header}");
        assert!(given.as_ref() != Some(&good) && given.as_ref() != Some(&forged));
    }
}

#[test]
fn the_cookie_is_between_the_browser_and_the_proxy() {
    let application = Application::sending(
        "HTTP/1.1 200 OK\r\nSet-Cookie: own=1; Path=/\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Proxy::start();
    let backends = |percent| {
        vec![
            in_role(backend("api@1", 100 - percent, &[application.address]), "stable"),
            in_role(backend("api@2", percent, &[application.address]), "candidate"),
        ]
    };
    let publish = |percent| {
        let other = route("/other", vec![backend("web@1", 100, &[application.address])]);
        proxy.route(vec![handled(route("/api/", backends(percent)), &Sticky::Cookie), other])
    };
    let mut caller = Caller::connect(publish(50));
    let answer = caller.get("/api/x");
    let cookies: Vec<&str> = answer
        .head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(cookies[0], "own=1; Path=/");
    let (ours, attributes) = cookies[1].split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/api; Max-Age=604800; HttpOnly; SameSite=Lax");
    assert_eq!(cookies.len(), 2);

    // Also when there is nothing to divide, and on a route that divides nobody.
    for (percent, path) in [(50, "/api"), (0, "/api"), (50, "/other")] {
        publish(percent);
        caller.get_with(path, &format!("Cookie: a=1; {ours}; b=2\r\n"));
        caller.get_with(path, &format!("Cookie: {ours}\r\n"));
        let seen = application.seen();
        let [before, last] = &seen[seen.len() - 2..] else { panic!("two came") };
        assert_eq!(before.header("cookie"), Some("a=1; b=2"), "{path} {percent}");
        assert_eq!(last.header("cookie"), None, "{path} {percent}");
    }
    publish(0);
    assert_eq!(caller.get("/api").header("set-cookie"), Some("own=1; Path=/"));
    let given: Vec<_> = caller.get("/api").head.matches("tidegate-visitor").map(drop).collect();
    assert!(given.is_empty(), "nobody is divided, and nobody gets a cookie");
}

#[test]
fn whoever_is_at_a_revision_that_is_gone_is_served_by_the_other() {
    let world = World::new(Sticky::Cookie);
    let (visitors, first) = with_cookies(world.share(50));
    let backends = vec![
        in_role(backend("api@1", 50, &[world.old.address]), "stable"),
        in_role(backend("api@2", 50, &[]), "candidate"),
    ];
    let address = world.proxy.route(vec![handled(route("/", backends), &Sticky::Cookie)]);
    assert_eq!(count(&visit(address, &visitors), "old"), VISITORS);
    assert_eq!(visit(world.share(50), &visitors), first);
}

#[test]
fn a_page_and_its_assets_come_from_one_release() {
    let proxy = Proxy::start();
    let folder = tempfile::tempdir().unwrap();
    let mut backends = Vec::new();
    for (number, role) in [(1, "stable"), (2, "candidate")] {
        let root = folder.path().join(number.to_string());
        fs::create_dir(&root).unwrap();
        fs::write(root.join("index.html"), format!("asset-{number}.js")).unwrap();
        fs::write(root.join(format!("asset-{number}.js")), "run()").unwrap();
        backends.push(ProxyBackend {
            revision: RevisionId::new(format!("web@{number}")),
            share: Share::percent(50),
            role: role.to_owned(),
            upstream: Upstream::Files { root, single_page: false, others: vec![] },
        });
    }
    let address = proxy.route(vec![handled(route("/", backends), &Sticky::Cookie)]);
    let mut caller = Caller::connect(address);
    let mut pages = BTreeMap::new();
    for _ in 0..VISITORS {
        let page = caller.get("/");
        let header = format!("Cookie: {}\r\n", cookie(&page).unwrap());
        let asset = caller.get_with(&format!("/{}", page.text()), &header);
        assert_eq!((asset.status, cookie(&asset)), (200, None));
        *pages.entry(page.text().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(pages.len(), 2, "both releases have visitors");
    // What caches may keep for everybody names nobody.
    for number in [1, 2] {
        let header = format!("Tidegate-Revision: web@{number}\r\n");
        let asset = caller.get_with(&format!("/asset-{number}.js"), &header);
        assert_eq!((asset.status, cookie(&asset)), (200, None));
    }
}
