//! Static sites.

use std::{net::SocketAddr, os::unix::fs::symlink, path::Path};

use tidegate_types::{
    RevisionId, Share,
    data_plane::{OtherFiles, ProxyBackend, Upstream},
};

use crate::harness::{Caller, Proxy, all, route};

fn site(revision: &str, root: &Path, single_page: bool) -> ProxyBackend {
    ProxyBackend {
        revision: RevisionId::new(revision),
        share: Share::ALL,
        role: "stable".into(),
        upstream: Upstream::Files { root: root.to_owned(), single_page, others: vec![] },
    }
}

/// A proxy with a site, and a secret beside it.
fn start(single_page: bool) -> (tempfile::TempDir, Proxy, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("dist");
    std::fs::create_dir_all(root.join("docs")).unwrap();
    for (name, text) in [
        ("../secret", "secret"),
        ("index.html", "<h1>shop</h1>"),
        ("app.js", "0123456789"),
        ("app.js.br", "brotli"),
        ("app.js.gz", "gz"),
        ("docs/index.html", "docs"),
        ("a b.txt", "space"),
        ("empty.txt", ""),
    ] {
        std::fs::write(root.join(name), text).unwrap();
    }
    symlink("../secret", root.join("leak.txt")).unwrap();
    symlink("app.js", root.join("alias.js")).unwrap();
    let proxy = Proxy::start();
    let address = proxy.route(all(vec![site("web@1", &root, single_page)]));
    (folder, proxy, address)
}

#[test]
fn files_are_served_with_what_belongs_to_them() {
    let (_folder, proxy, address) = start(false);
    let mut caller = Caller::connect(address);
    for (path, status, text, content_type) in [
        ("/", 200, "<h1>shop</h1>", "text/html; charset=utf-8"),
        ("/index.html?x=1", 200, "<h1>shop</h1>", "text/html; charset=utf-8"),
        ("/app.js", 200, "0123456789", "text/javascript; charset=utf-8"),
        ("/alias.js", 200, "0123456789", "text/javascript; charset=utf-8"),
        ("/docs/", 200, "docs", "text/html; charset=utf-8"),
        ("/a%20b.txt", 200, "space", "text/plain; charset=utf-8"),
        ("/empty.txt", 200, "", "text/plain; charset=utf-8"),
        ("/none", 404, "There is no such page.\n", "text/plain; charset=utf-8"),
        ("/app.js/", 404, "There is no such page.\n", "text/plain; charset=utf-8"),
    ] {
        let answer = caller.get(path);
        assert_eq!((answer.status, answer.text()), (status, text), "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
    }
    let index = caller.get("/");
    assert_eq!(index.header("cache-control"), Some("no-cache"));
    let script = caller.get("/app.js");
    assert_eq!(script.header("cache-control"), Some("public, max-age=3600"));
    let folder = caller.get("/docs?x=1");
    assert_eq!((folder.status, folder.header("location")), (308, Some("/docs/?x=1")));
    let head = caller.head("/app.js");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    let posted = caller.post("/app.js", "x");
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(proxy.counted("web@1"), (14, 0));
}

#[test]
fn nothing_outside_the_folder_is_served() {
    let (_folder, _proxy, address) = start(false);
    for (path, status) in [
        ("/leak.txt", 404),
        ("/../secret", 400),
        ("/%2e%2e/secret", 400),
        ("/docs/..%2f..%2fsecret", 400),
        ("/docs/..\\..\\secret", 400),
        ("//etc/passwd", 404),
        ("/docs//index.html", 404),
        ("/%2fetc/passwd", 404),
        ("/%ff", 404),
    ] {
        let answer = Caller::connect(address).get(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

#[test]
fn known_files_are_not_sent_again_and_parts_are_sent_alone() {
    let (folder, proxy, address) = start(false);
    let mut caller = Caller::connect(address);
    let whole = caller.get("/app.js");
    let tag = whole.header("etag").unwrap().to_owned();
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
        let answer = caller.get_with("/app.js", &format!("If-None-Match: {known}\r\n"));
        assert_eq!(answer.status, 304, "{known}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
    }
    let answer = caller.get_with("/app.js", "If-None-Match: \"x\"\r\n");
    assert_eq!(answer.status, 200);

    for (header, status, text, range) in [
        ("Range: bytes=2-4\r\n".to_owned(), 206, "234", Some("bytes 2-4/10")),
        ("Range: bytes=-2\r\n".to_owned(), 206, "89", Some("bytes 8-9/10")),
        ("Range: bytes=10-\r\n".to_owned(), 416, "", Some("bytes */10")),
        ("Range: bytes=0-1,4-5\r\n".to_owned(), 200, "0123456789", None),
        (format!("Range: bytes=2-4\r\nIf-Range: {tag}\r\n"), 206, "234", Some("bytes 2-4/10")),
        ("Range: bytes=2-4\r\nIf-Range: \"x\"\r\n".to_owned(), 200, "0123456789", None),
    ] {
        let answer = caller.get_with("/app.js", &header);
        assert_eq!((answer.status, answer.text()), (status, text), "{header}");
        assert_eq!(answer.header("content-range"), range, "{header}");
    }

    // Another release has other tags, even of the same file.
    let root = folder.path().join("dist");
    proxy.route(all(vec![site("web@2", &root, false)]));
    let answer = caller.get_with("/app.js", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(answer.status, 200);
}

#[test]
fn compressed_files_are_sent_to_who_takes_them() {
    let (_folder, _proxy, address) = start(false);
    let mut caller = Caller::connect(address);
    let mut tags = std::collections::BTreeSet::new();
    for (accepted, text, encoding) in [
        ("gzip, deflate, br", "brotli", Some("br")),
        ("gzip", "gz", Some("gzip")),
        ("br;q=0, gzip;q=0.5", "gz", Some("gzip")),
        ("identity", "0123456789", None),
    ] {
        let answer = caller.get_with("/app.js", &format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!(answer.text(), text, "{accepted}");
        assert_eq!(answer.header("content-encoding"), encoding);
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
        tags.insert(answer.header("etag").unwrap().to_owned());
    }
    assert_eq!(tags.len(), 3, "each encoding is an entity of its own");
}

#[test]
fn a_single_page_answers_for_paths_it_makes_up_itself() {
    let (_folder, _proxy, address) = start(true);
    let mut caller = Caller::connect(address);
    for path in ["/orders/17", "/", "/made/up/"] {
        assert_eq!(caller.get(path).text(), "<h1>shop</h1>", "{path}");
    }
    assert_eq!(caller.get("/missing.js").status, 404);
    assert_eq!(caller.get("/leak.txt").status, 404);
}

#[test]
fn assets_of_other_releases_are_answered_and_nothing_else_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for release in ["old", "older"] {
        write(&format!("{release}/index.html"), release);
        write(&format!("{release}/app.3f9c.js"), release);
        write(&format!("{release}/robots.txt"), release);
        write(&format!("{release}/page.3f9c1a2b.html"), release);
        write(&format!("{release}/page.3f9c1a2b.html.gz"), release);
        write(&format!("{release}/x8Sd4fQ0sF91/index.html"), release);
        symlink("../secret", folder.path().join(release).join("leak.3f9c1a2b.txt")).unwrap();
        symlink("index.html", folder.path().join(release).join("alias.3f9c1a2b.js")).unwrap();
    }
    write("secret", "secret");
    write("older/app.77aa.js", "oldest of all");
    write("older/assets/index-BkQ3dXyZ.js", "0123456789");
    write("older/assets/index-BkQ3dXyZ.js.gz", "gz");
    write("new/index.html", "new");
    write("new/app.1111.js", "new");
    write("new/main.3f9c1a2b.js", "main of new");
    write("old/main.3f9c1a2b.js", "main of old");

    let named = |revision: &str, name: &str| OtherFiles {
        revision: RevisionId::new(revision),
        root: folder.path().join(name),
    };
    let mut new = site("web@3", &folder.path().join("new"), true);
    new.upstream = Upstream::Files {
        root: folder.path().join("new"),
        single_page: true,
        others: vec![named("web@0", "gone"), named("web@2", "old"), named("web@1", "older")],
    };
    let proxy = Proxy::start();
    let before = proxy.route(all(vec![site("web@1", &folder.path().join("older"), true)]));
    let path = "/assets/index-BkQ3dXyZ.js";
    let tag = Caller::connect(before).get(path).header("etag").unwrap().to_owned();
    let address = proxy.route(all(vec![new]));
    let mut caller = Caller::connect(address);
    for (path, status, text) in [
        ("/app.1111.js", 200, "new"),
        ("/main.3f9c1a2b.js", 200, "main of new"),
        // The newest of those that have it.
        ("/app.3f9c.js", 200, "old"),
        ("/app.77aa.js", 200, "oldest of all"),
        ("/assets/index-BkQ3dXyZ.js", 200, "0123456789"),
        // Pages, and what may have been dropped on purpose, are those of this release.
        ("/", 200, "new"),
        ("/orders/3f9c1a2b", 200, "new"),
        ("/x8Sd4fQ0sF91/", 200, "new"),
        ("/robots.txt", 404, "There is no such page.\n"),
        ("/page.3f9c1a2b.html", 404, "There is no such page.\n"),
        ("/page.3f9c1a2b%2ehtml", 404, "There is no such page.\n"),
        ("/page.3f9c1a2b.html.gz", 404, "There is no such page.\n"),
        ("/x8Sd4fQ0sF91/index.html", 404, "There is no such page.\n"),
        ("/alias.3f9c1a2b.js", 404, "There is no such page.\n"),
        ("/leak.3f9c1a2b.txt", 404, "There is no such page.\n"),
        ("/none.3f9c1a2b.js", 404, "There is no such page.\n"),
    ] {
        let answer = caller.get(path);
        assert_eq!((answer.status, answer.text()), (status, text), "{path}");
    }
    let answer = caller.get_with(path, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!(answer.status, 304, "it is known from when its own release answered");
    let answer = caller.get_with(path, "Accept-Encoding: gzip\r\n");
    assert_eq!((answer.text(), answer.header("content-encoding")), ("gz", Some("gzip")));
    let answer = caller.get_with(path, "Range: bytes=2-4\r\n");
    assert_eq!((answer.status, answer.text()), (206, "234"));
    assert_eq!(caller.head(path).header("content-length"), Some("10"));
    assert_eq!(caller.post(path, "x").status, 405);
    // Counted for who was chosen to answer.
    assert_eq!(proxy.counted("web@3"), (21, 0));
    assert_eq!(proxy.counted("web@1"), (1, 0));

    // A release that goes away takes its files with it and nothing else.
    std::fs::remove_dir_all(folder.path().join("old")).unwrap();
    assert_eq!(caller.get("/app.3f9c.js").text(), "older");
    std::fs::remove_dir_all(folder.path().join("older")).unwrap();
    assert_eq!(caller.get("/app.3f9c.js").status, 404);
    assert_eq!(proxy.counted("web@3"), (23, 0));
}

#[test]
fn a_large_file_is_whole_and_a_site_can_have_a_prefix() {
    let (folder, proxy, address) = start(false);
    let root = folder.path().join("dist");
    let large: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(root.join("large.bin"), &large).unwrap();
    let mut shop = route("/shop", vec![site("web@1", &root, false)]);
    shop.rule.strip_prefix = true;
    proxy.route(vec![shop]);
    let mut caller = Caller::connect(address);
    assert_eq!(caller.get("/shop/large.bin").body, large);
    assert_eq!(caller.get("/shop").text(), "<h1>shop</h1>");
    assert_eq!(caller.get("/shop/docs").header("location"), Some("/shop/docs/"));
    assert_eq!(caller.get("/large.bin").status, 404);

    // A site that is gone is the revision's failure, not a missing page.
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(caller.get("/shop/app.js").status, 500);
    assert_eq!(proxy.counted("web@1").1, 1);
}
