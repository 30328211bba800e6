//! Requests go where the route table says.

use std::fs;

use tidegate_targets::{Effect, Target};
use tidegate_types::{
    Digest, Duration, Epoch, Listen, RevisionId, StaticSpec, Workload, data_plane::Upstream,
};

use crate::world::{Load, World, app, get, kill, site, until, until_true, wanted};

#[tokio::test]
async fn traffic_follows_the_table_without_a_lost_request() {
    let world = World::new();
    let one = app(&world, "version=one");
    let two = app(&world, "version=two");
    world.apply(&[wanted("api@1", &one, 1), wanted("api@2", &two, 1)]).await;
    world.ready("api@1", 1).await;
    world.ready("api@2", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100), ("api@2", 0)])).await;
    assert!(get(address, "/").await.unwrap().1.starts_with("one "));
    let load = Load::on(address);
    for epoch in 2..12 {
        let (new, old) = if epoch % 2 == 0 { (100, 0) } else { (0, 100) };
        world.route(&world.routes(epoch, &[("api@1", old), ("api@2", new)])).await;
        let expected = if new == 100 { "two " } else { "one " };
        // Every new request follows it at once.
        let (status, body) = get(address, "/").await.unwrap();
        assert!(status == 200 && body.starts_with(expected), "{body}");
    }
    let traffic = world.target().traffic(&world.scope).await.unwrap();
    assert!(traffic.revisions[&RevisionId::new("api@2")].requests() >= 5);
    load.assert_none_failed().await;
}

#[tokio::test]
async fn an_older_table_is_refused_and_the_same_one_is_no_news() {
    let world = World::new();
    let spec = app(&world, "");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    let table = world.routes(5, &[("api@1", 100)]);
    let address = world.route(&table).await;
    assert_eq!(world.route(&table).await, address);
    let older = world.routes(4, &[("api@1", 100)]);
    let error = world.target().route(&older).await.unwrap_err();
    assert_eq!((error.retry, error.effect), (false, Effect::None));
    assert!(error.to_string().contains("route table 5"), "{error}");
    assert_eq!(world.observe().await.routes.epoch, Some(Epoch(5)));
}

#[tokio::test]
async fn a_revision_that_nobody_applied_cannot_be_routed_to() {
    let world = World::new();
    let error = world.target().route(&world.routes(1, &[("api@9", 100)])).await.unwrap_err();
    assert!(error.retry && error.reason.contains("api@9"), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_refused_and_what_was_in_force_stays_up_to_date() {
    let world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut elsewhere = world.routes(2, &[("api@1", 100)]);
    elsewhere.gateway.listen = Listen::Address(other.local_addr().unwrap());
    let error = world.target().route(&elsewhere).await.unwrap_err();
    assert_eq!((error.retry, error.effect), (false, Effect::None));
    let refused = world.observe().await.routes.refused.unwrap();
    assert_eq!(refused.epoch, Epoch(2));
    assert!(refused.reason.contains("cannot listen on"), "{refused:?}");
    // Endpoints still come and go in the table that is in force.
    kill(world.reported("started")[0]);
    world.until("api@1", "an exit", |facts| facts.exits == 1).await;
    world.ready("api@1", 1).await;
    until("the new instance", async || {
        let (status, body) = get(address, "/").await.unwrap();
        (status == 200 && body.contains(" api@1.2 ")).then_some(())
    })
    .await;
    drop(other);
    elsewhere.epoch = Epoch(3);
    let moved = world.route(&elsewhere).await;
    assert_eq!(get(moved, "/").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_static_site_needs_no_process() {
    let world = World::new();
    let folder = world.path("artifacts/app");
    fs::write(folder.join("index.html"), "hello").unwrap();
    world.apply(&[site("site@1", true)]).await;
    let facts = world.until("site@1", "ready", |facts| facts.ready == 1).await;
    assert_eq!((facts.running, facts.instances.len()), (0, 0));
    let address = world.route(&world.routes(1, &[("site@1", 100)])).await;
    assert_eq!(get(address, "/").await.unwrap(), (200, "hello".to_owned()));
    assert_eq!(get(address, "/deep/link").await.unwrap().0, 200);
    fs::remove_dir_all(&folder).unwrap();
    world.until("site@1", "not ready", |facts| facts.ready == 0).await;
}

#[tokio::test]
async fn assets_of_another_release_are_answered_beside_it_after_it_and_after_a_restart() {
    let mut world = World::new();
    let release = |number: u32, keep: Duration| {
        let mut site = site(&format!("api@{number}"), true);
        site.spec.artifact = Digest::new(format!("release-{number}"));
        site.spec.workload = Workload::Static(StaticSpec { single_page: true, keep_assets: keep });
        let folder = world.path("artifacts").join(format!("release-{number}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.html"), format!("page {number}")).unwrap();
        fs::write(folder.join(format!("app.3f9c000{number}.js")), format!("{number}")).unwrap();
        site
    };
    let day = StaticSpec::default_keep_assets();
    let [one, two, three] = [release(1, day), release(2, day), release(3, Duration::ZERO)];
    // What each page asks for, whoever answers now.
    let pages_work = async |address, pages: &[u32]| {
        for page in pages {
            let (status, body) = get(address, &format!("/app.3f9c000{page}.js")).await.unwrap();
            assert_eq!((status, body), (200, page.to_string()));
        }
    };

    world.apply(&[one.clone(), two.clone()]).await;
    world.until("api@2", "ready", |facts| facts.ready == 1).await;
    // A canary: both pages are out there, and either may answer.
    for (epoch, shares) in [(1, [100, 0]), (2, [0, 100])] {
        let table = world.routes(epoch, &[("api@1", shares[0]), ("api@2", shares[1])]);
        let address = world.route(&table).await;
        pages_work(address, &[1, 2]).await;
    }
    // The old one has left.
    let address = world.route(&world.routes(3, &[("api@2", 100)])).await;
    world.apply(std::slice::from_ref(&two)).await;
    world.gone("api@1").await;
    pages_work(address, &[1, 2]).await;
    assert_eq!(get(address, "/").await.unwrap().1, "page 2");
    // Another control plane remembers it when it says something new.
    world.crash();
    world.start();
    world.apply(std::slice::from_ref(&two)).await;
    let address = world.route(&world.routes(4, &[("api@2", 100)])).await;
    pages_work(address, &[1, 2]).await;
    // A release that wants none of it.
    world.apply(&[two, three.clone()]).await;
    world.until("api@3", "ready", |facts| facts.ready == 1).await;
    let address = world.route(&world.routes(5, &[("api@3", 100), ("api@2", 0)])).await;
    pages_work(address, &[3]).await;
    assert_eq!(get(address, "/app.3f9c0002.js").await.unwrap().0, 404);
}

#[tokio::test]
async fn a_proxy_that_was_killed_comes_back_with_its_table() {
    let world = World::new();
    let spec = app(&world, "version=one");
    world.apply(&[wanted("api@1", &spec, 2)]).await;
    world.ready("api@1", 2).await;
    let address = world.route(&world.routes(1, &[("api@1", 100)])).await;
    let proxy = world.proxy().unwrap();
    kill(proxy);
    // An instance goes meanwhile.
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    until("another proxy", async || matches!(get(address, "/").await, Ok((200, _))).then_some(()))
        .await;
    assert_ne!(world.proxy(), Some(proxy));
    let facts = world.ready("api@1", 1).await;
    assert_eq!(facts.exits, 0);
    let (status, body) = get(address, "/").await.unwrap();
    assert_eq!((status, &*body), (200, "one api@1.1 /\n"));
    // And takes new ones.
    assert_eq!(world.route(&world.routes(2, &[("api@1", 100)])).await, address);
}

#[tokio::test]
async fn a_proxy_that_cannot_start_is_told_with_its_log() {
    let world = World::new();
    until_true("the proxy", || world.proxy().is_some()).await;
    let error = {
        let mut options = world.options();
        options.home = world.path("other");
        options.executable = "/bin/false".into();
        let target = tidegate_targets::ProcessTarget::new(options).unwrap();
        target.route(&world.routes(1, &[])).await.unwrap_err()
    };
    assert!(error.retry, "{error}");
    assert!(error.reason.contains("the proxy ended right after its start"), "{error}");
    assert!(error.reason.contains("proxy.log"), "{error}");
}

#[tokio::test]
async fn the_proxy_knows_how_long_an_instance_drains() {
    let world = World::new();
    let mut spec = app(&world, "version=one");
    spec.stop.drain = Duration::from_secs(17);
    world.apply(&[wanted("api@1", &spec, 1)]).await;
    world.ready("api@1", 1).await;
    world.route(&world.routes(1, &[("api@1", 100)])).await;
    let client = tidegate_proxy::client::Client::new(world.home().join("proxy/control.sock"));
    let tables = until("the tables", async || client.tables().await.ok()).await;
    match &tables[0].table.routes[0].backends[0].upstream {
        Upstream::Endpoints(endpoints) => assert_eq!(endpoints[0].drain, Some(spec.stop.drain)),
        Upstream::Files { .. } => panic!("{tables:?}"),
    }
}
