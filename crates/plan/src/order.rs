//! The order in which components are rolled out.

use std::collections::BTreeMap;

use tidegate_manifest::Component;
use tidegate_types::ComponentName;

/// Each component after everything it depends on; otherwise in the order of the file.
///
/// A cycle cannot pass the manifest's checks; were there one, each of its members is there once.
pub(crate) fn by_dependency(components: &[Component]) -> Vec<&Component> {
    let by_name: BTreeMap<&ComponentName, &Component> =
        components.iter().map(|component| (&component.name, component)).collect();
    let mut ordered: Vec<&Component> = Vec::with_capacity(components.len());
    let mut visited: Vec<&ComponentName> = Vec::new();
    for component in components {
        visit(component, &by_name, &mut visited, &mut ordered);
    }
    ordered
}

fn visit<'a>(
    component: &'a Component,
    by_name: &BTreeMap<&'a ComponentName, &'a Component>,
    visited: &mut Vec<&'a ComponentName>,
    ordered: &mut Vec<&'a Component>,
) {
    if visited.contains(&&component.name) {
        return;
    }
    visited.push(&component.name);
    for dependency in &component.depends_on {
        if let Some(dependency) = by_name.get(dependency) {
            visit(dependency, by_name, visited, ordered);
        }
    }
    ordered.push(component);
}
