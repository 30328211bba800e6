//! What outlives the proxy.

use std::net::TcpListener;

use tidegate_proxy::{Error, client::ClientError, run};
use tidegate_types::data_plane::Refusal;

use crate::{
    harness::{Proxy, all, backend, eventually, get},
    upstream::Application,
};

#[test]
fn a_restarted_proxy_serves_the_last_table_on_the_same_port() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    let before = proxy.tables();
    proxy.shutdown();
    proxy.join();
    assert!(!proxy.socket().exists());
    proxy.begin();
    assert_eq!(proxy.tables(), before);
    assert_eq!(get(address, "/").text(), "hello");
    // A newer table keeps the port.
    assert_eq!(proxy.route(all(vec![])), address);
}

#[test]
fn a_port_lost_over_a_restart_is_waited_for() {
    let application = Application::saying("hello");
    let mut proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@1", 100, &[application.address])]));
    proxy.shutdown();
    proxy.join();
    let thief = TcpListener::bind(address).unwrap();
    proxy.begin();
    assert_eq!(proxy.tables()[0].address, None);
    let refused = proxy.publish(&proxy.table(vec![]));
    assert!(matches!(refused, Err(ClientError::Refused(Refusal::Address { .. }))), "{refused:?}");
    drop(thief);
    eventually("the port is bound", || proxy.tables()[0].address);
    assert_eq!(get(address, "/").text(), "hello");
}

#[test]
fn a_damaged_file_does_not_keep_the_proxy_from_starting() {
    let mut proxy = Proxy::start();
    proxy.route(vec![]);
    proxy.shutdown();
    proxy.join();
    std::fs::write(proxy.home().join("tables.json"), "{\"tables\": [").unwrap();
    proxy.begin();
    assert!(proxy.tables().is_empty());
    assert!(proxy.home().join("tables.json.damaged").exists());
}

#[test]
fn a_table_that_cannot_be_stored_is_in_force_and_stored_later() {
    let (bad, good) = (Application::saying("bad"), Application::saying("good"));
    let mut proxy = Proxy::start();
    let file = proxy.home().join("tables.json");
    let address = proxy.route(all(vec![backend("api@2", 100, &[bad.address])]));
    let before = std::fs::read(&file).unwrap();
    // A folder in the way of the temporary file, since permissions do not bind every user.
    let obstacle = proxy.home().join("tables.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    assert_eq!(proxy.route(all(vec![backend("api@1", 100, &[good.address])])), address);
    assert_eq!(get(address, "/").text(), "good");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let in_force = proxy.tables();
    std::fs::remove_dir(&obstacle).unwrap();
    // Nobody has to publish again.
    eventually("the table is stored", || (std::fs::read(&file).unwrap() != before).then_some(()));
    proxy.shutdown();
    proxy.join();
    proxy.begin();
    assert_eq!(proxy.tables(), in_force);
    assert_eq!(get(address, "/").text(), "good");
}

#[test]
fn a_proxy_that_ends_with_an_older_file_starts_from_it_and_takes_the_newer_table_again() {
    let (bad, good) = (Application::saying("bad"), Application::saying("good"));
    let mut proxy = Proxy::start();
    let address = proxy.route(all(vec![backend("api@2", 100, &[bad.address])]));
    let obstacle = proxy.home().join("tables.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let newer = proxy.table(all(vec![backend("api@1", 100, &[good.address])]));
    proxy.publish(&newer).unwrap();
    proxy.shutdown();
    proxy.join();
    proxy.begin();
    assert_eq!(get(address, "/").text(), "bad");
    proxy.publish(&newer).unwrap();
    assert_eq!(get(address, "/").text(), "good");
    // With room again, ending stores what was in force, whether or not a second has passed.
    std::fs::remove_dir(&obstacle).unwrap();
    proxy.shutdown();
    proxy.join();
    proxy.begin();
    assert_eq!(proxy.tables()[0].table, newer);
}

#[test]
fn a_scope_that_cannot_be_forgotten_on_disk_is_kept() {
    let proxy = Proxy::start();
    proxy.route(vec![]);
    let obstacle = proxy.home().join("tables.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let refused = proxy.try_remove();
    let Err(ClientError::Refused(Refusal::Invalid { reason })) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("could not be stored"), "{reason}");
    assert_eq!(proxy.tables().len(), 1);
    std::fs::remove_dir(&obstacle).unwrap();
    proxy.remove();
    assert!(proxy.tables().is_empty());
}

#[test]
fn a_home_has_one_proxy() {
    let mut proxy = Proxy::start();
    let second = run(proxy.options());
    let Err(Error::AlreadyRunning { pid, .. }) = second else {
        panic!("{second:?}");
    };
    assert_eq!(pid, Some(std::process::id()));
    assert!(proxy.tables().is_empty(), "the first goes on");
    // A dead predecessor leaves its socket behind.
    proxy.shutdown();
    proxy.join();
    drop(std::os::unix::net::UnixListener::bind(proxy.socket()).unwrap());
    assert!(proxy.socket().exists());
    proxy.begin();
}

#[test]
fn a_proxy_that_is_not_there_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let client = tidegate_proxy::client::Client::new(folder.path().join("none.sock"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(client.tables());
    assert!(matches!(answer, Err(ClientError::Unreachable { .. })), "{answer:?}");
    // One that does not answer is something else.
    let silent = std::os::unix::net::UnixListener::bind(folder.path().join("silent.sock")).unwrap();
    let client = tidegate_proxy::client::Client::new(folder.path().join("silent.sock"));
    let answer = runtime.block_on(client.tables());
    assert!(matches!(answer, Err(ClientError::Timeout { .. })), "{answer:?}");
    drop(silent);
}
