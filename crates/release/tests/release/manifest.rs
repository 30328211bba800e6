//! Manifests without their YAML.

use tidegate_manifest::{Build, Component, Manifest, Workload};
use tidegate_types::Duration;

pub(crate) fn of(components: Vec<Component>) -> Manifest {
    Manifest {
        project: "shop".parse().expect("it is a name"),
        components,
        environments: Vec::new(),
    }
}

pub(crate) fn component(name: &str, build: Option<Build>) -> Component {
    Component {
        name: name.parse().expect("it is a name"),
        path: ".".to_owned(),
        build,
        workload: Workload::Static { single_page: false, keep_assets: Duration::ZERO },
        replicas: 0,
        depends_on: Vec::new(),
        route: None,
        environment: std::collections::BTreeMap::default(),
        strategy: None,
    }
}

pub(crate) fn build(run: &str, output: &str) -> Build {
    Build {
        run: run.to_owned(),
        directory: ".".to_owned(),
        output: output.to_owned(),
        timeout: Duration::from_mins(2),
    }
}
