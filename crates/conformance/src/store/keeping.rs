//! What is kept beside the states: projects, releases, samples, settings.

use tidegate_store::{Error, Project};
use tidegate_types::{DeploymentId, RevisionId};

use super::{
    Place,
    sample::{at, counted, deployment, release},
};

/// Put again it takes nothing but the new repository.
pub async fn a_project_keeps_its_first_date(place: &mut dyn Place) {
    let store = place.store();
    let project = |name: &str, repository: &str, created_at| Project {
        name: name.parse().unwrap(),
        repository: repository.to_owned(),
        created_at: at(created_at),
    };
    store.put_project(&project("shop", "/a", 1)).await.unwrap();
    store.put_project(&project("blog", "/b", 2)).await.unwrap();
    store.put_project(&project("shop", "/c", 3)).await.unwrap();
    let expected = vec![project("blog", "/b", 2), project("shop", "/c", 1)];
    assert_eq!(store.projects().await, Ok(expected));
}

/// The same release again is no news, another one under its name is refused.
pub async fn releases_are_immutable(place: &mut dyn Place) {
    let store = place.store();
    let first = release("r-1", "c1", 10);
    store.put_release(&first).await.unwrap();
    let mut again = first.clone();
    again.built_at = at(99);
    store.put_release(&again).await.unwrap();
    assert_eq!(store.release(&first.id).await, Ok(Some(first.clone())));
    let mut other = first.clone();
    other.commit = "c2".into();
    let refused = store.put_release(&other).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    assert_eq!(store.release(&first.id).await, Ok(Some(first)));
}

/// Never one of an uncommitted work tree.
pub async fn a_commit_finds_its_latest_clean_release(place: &mut dyn Place) {
    let store = place.store();
    let mut dirty = release("r-4", "c1", 40);
    dirty.dirty = true;
    let mut foreign = release("r-5", "c1", 50);
    foreign.project = "blog".parse().unwrap();
    let releases = [
        release("r-2", "c1", 20),
        release("r-3", "c2", 30),
        release("r-1", "c1", 20),
        dirty,
        foreign,
    ];
    for release in &releases {
        store.put_release(release).await.unwrap();
    }
    let shop = "shop".parse().unwrap();
    let found = async |commit: &'static str| {
        let release = store.release_of_commit(&shop, commit).await.unwrap();
        release.map(|release| release.id.to_string())
    };
    assert_eq!(found("c1").await.as_deref(), Some("r-2"));
    assert_eq!(found("c2").await.as_deref(), Some("r-3"));
    assert_eq!(found("c3").await, None);
    let listed = async |limit| {
        let releases = store.releases(&shop, limit).await.unwrap();
        let ids = releases.iter().map(|release| release.id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed(9).await, ["r-4", "r-3", "r-2", "r-1"]);
    assert_eq!(listed(2).await, ["r-4", "r-3"]);
}

/// The same look again takes the place of the first.
pub async fn samples_are_kept_until_forgotten(place: &mut dyn Place) {
    let store = place.store();
    let id = store.request_deployment(deployment("shop/production", None)).await.unwrap().id;
    let api = RevisionId::new("api@1");
    let worker = RevisionId::new("worker@1");
    let samples = vec![
        (api.clone(), counted(10, 20, 2)),
        (api.clone(), counted(0, 10, 1)),
        (worker.clone(), counted(0, 10, 9)),
        (api.clone(), counted(20, 30, 3)),
    ];
    store.put_samples(id, samples).await.unwrap();
    // The same look again, as after a crash.
    let again = vec![(api.clone(), counted(10, 20, 4))];
    store.put_samples(id, again).await.unwrap();

    let requests = async |revision: &RevisionId, since| {
        let samples = store.samples(id, revision, at(since)).await.unwrap();
        let requests = samples.iter().map(|sample| sample.counters.requests());
        requests.collect::<Vec<_>>()
    };
    assert_eq!(requests(&api, i64::MIN).await, [1, 4, 3]);
    assert_eq!(requests(&api, 10).await, [4, 3]);
    assert_eq!(requests(&worker, 0).await, [9]);
    assert_eq!(store.forget_samples(at(20)).await, Ok(2));
    assert_eq!(requests(&api, 0).await, [4, 3]);
    assert_eq!(requests(&worker, 0).await, [0_u64; 0]);

    let nowhere = store.put_samples(DeploymentId(99), vec![(api, counted(0, 1, 1))]).await;
    assert!(matches!(nowhere, Err(Error::Missing { .. })));
}

/// The last one stays.
pub async fn settings_are_replaced(place: &mut dyn Place) {
    let store = place.store();
    store.set_meta("a", "1").await.unwrap();
    store.set_meta("b", "2").await.unwrap();
    store.set_meta("a", "3").await.unwrap();
    assert_eq!(store.meta("a").await, Ok(Some("3".to_owned())));
    assert_eq!(store.meta("b").await, Ok(Some("2".to_owned())));
}
