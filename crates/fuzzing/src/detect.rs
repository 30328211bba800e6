//! Folders of others, for which a first manifest is written.

use tidegate_release::detect;

use crate::{folder, sections::sections};

pub(crate) fn hold(bytes: &[u8]) {
    folder::with(|root| {
        let root = root.join("project");
        for (name, text) in sections(bytes) {
            folder::put(&root, name, text);
        }
        let found = detect(&root);
        assert!(!found.findings.is_empty());
        for finding in &found.findings {
            let shown = format!("{}{}{}", finding.what, finding.value, finding.why);
            assert!(!shown.chars().any(char::is_control), "acts on a terminal: {finding:?}");
        }
        if let Err(problems) = tidegate_manifest::read(&found.manifest, "tidegate.yaml") {
            panic!("a manifest that is refused was written:\n{}\n{problems}", found.manifest);
        }
    });
}
