//! When there is no plan, and what is said of it.

use tidegate_plan::Error;

use crate::shop::{SHOP, Shop, component};

fn told(errors: &[Error]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn an_environment_that_the_release_does_not_know_is_refused_with_those_it_knows() {
    let mut shop = Shop::new(SHOP);
    shop.scope.environment = "moon".parse().unwrap();
    assert_eq!(
        told(&shop.compile().unwrap_err()),
        ["the manifest of this release has no environment `moon`; it has staging, production"]
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_nothing_is_planned() {
    let mut shop = Shop::new(SHOP);
    shop.deploy();
    shop.manifest.environments[1].values.clear();
    shop.release.artifacts.remove(&component("worker"));
    assert_eq!(
        told(&shop.compile().unwrap_err()),
        [
            "release r-1 has no artifact for `worker`; deploy its commit again to build it",
            "api cannot be used: `API_KEY` has neither a value nor a default",
        ]
    );
}
