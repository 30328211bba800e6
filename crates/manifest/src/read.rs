//! The third pass: a tree of known keys becomes a [`Manifest`].
//!
//! Values that were reported before are replaced by their defaults, so that one slip does not hide
//! others; a check that would rest on such a value is left out. The manifest is given back only
//! when there was no error at all.

mod component;
mod concurrency;
mod consistency;
mod encryption;
mod environment;
mod fields;
mod health;
mod limits;
mod strategy;
mod traffic;

use fields::Fields;

use crate::{
    model::Manifest,
    problem::{Problems, Report, Span},
    shape,
    yaml::{self, Value},
};

const MAX_COMPONENTS: usize = 500;
const MAX_ENVIRONMENTS: usize = 100;

const SMALLEST: &str = "the smallest manifest is:\n\
                        project: shop\n\
                        components:\n  \
                          api:\n    \
                            command: ./api --port $PORT\n    \
                            port: auto";

/// A manifest that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The manifest.
    pub manifest: Manifest,
    /// What is probably not meant.
    pub warnings: Problems,
}

/// Reads a manifest from bytes that may be no text at all.
pub fn read_bytes(bytes: &[u8], file_name: &str) -> Result<Checked, Problems> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text, file_name),
        Err(error) => {
            // Up to the first wrong byte the replacement text is the same.
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(yaml::MAX_BYTES)]);
            let mut report = Report::new(file_name, &text);
            let start = error.valid_up_to();
            report
                .error("not-utf8", Span { start, end: start + 1 }, "the file is not UTF-8 text")
                .help("save it with the encoding UTF-8");
            Err(report.finish())
        }
    }
}

/// Reads a manifest. `file_name` is what problems call the file. Gives back either a manifest
/// that can be used, or everything that is wrong with it.
pub fn read(text: &str, file_name: &str) -> Result<Checked, Problems> {
    let mut report = Report::new(file_name, text);
    let (root, faults) = yaml::parse(text);
    for fault in faults {
        report.error(fault.code, fault.span, fault.message).maybe_help(fault.help);
    }
    let manifest = match root {
        Some(mut root) if !matches!(root.value, Value::Nothing) => {
            shape::check(&mut root, &mut report);
            manifest(&Fields::new(Some(&root), ""), &mut report)
        }
        _ => {
            if !report.has_errors() {
                report
                    .error("empty-file", Span { start: 0, end: 0 }, "the manifest is empty")
                    .help(SMALLEST);
            }
            None
        }
    };
    match manifest {
        Some(manifest) if !report.has_errors() => {
            Ok(Checked { manifest, warnings: report.finish() })
        }
        _ => {
            if !report.has_errors() {
                report
                    .error(
                        "internal",
                        Span { start: 0, end: 0 },
                        "the manifest could not be read, and nothing says why",
                    )
                    .help("this is a fault of Tidegate: please report it with the file");
            }
            Err(report.finish())
        }
    }
}

fn manifest(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Manifest> {
    if too_many(fields, "components", MAX_COMPONENTS, report)
        || too_many(fields, "environments", MAX_ENVIRONMENTS, report)
    {
        return None;
    }
    let components = component::read_all(fields, report);
    let environments = environment::read_all(fields, report);
    // Of a component without a fit name nothing is known that others could refer to.
    if components.len() == fields.named("components").count() && !components.is_empty() {
        consistency::references(&components, &environments, report);
    }
    consistency::check(&components, &environments, report);
    traffic::check(&components, &environments, report);
    Some(Manifest {
        project: fields.given("project")?,
        components: components.into_iter().map(|draft| draft.component).collect(),
        environments: environments.into_iter().map(|draft| draft.environment).collect(),
    })
}

fn too_many(fields: &Fields<'_>, key: &str, most: usize, report: &mut Report<'_>) -> bool {
    let Some(entry) = fields.named(key).nth(most) else {
        return false;
    };
    report
        .error("too-many", entry.key_span, format!("there are more than {most} {key}"))
        .help("split the project into several");
    true
}
