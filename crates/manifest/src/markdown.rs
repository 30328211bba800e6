//! The page of documentation of the whole manifest.

use std::fmt::Write as _;

use crate::reference::{Default, KEYS, Key};

const HEAD: &str = "\
# The manifest

<!-- Made from the table of keys in `crates/manifest`; `tidegate explain KEY` says the same. -->

A project is described by one file, `tidegate.yaml`, at the top of its repository. `tidegate check`
prints everything that is wrong with it, `tidegate explain KEY` what a key means, and `tidegate
schema` a JSON Schema for editors.

- Keys that are not listed here are errors; keys that start with `x-` are ignored everywhere, names
  of components, environments and variables included.
- Durations are whole numbers with units from large to small: `500ms`, `30s`, `5m`, `24h`, `7d`,
  `1h30m`. Shares are percentages: `10%`, `0.5%`. Sizes have KiB, MiB or GiB: `8MiB`.
- In the paths below `*` stands for a name that you choose or for an item of a list.

The smallest manifest:

```yaml
project: shop
components:
  api:
    command: ./api --port $PORT
    port: auto
```
";

const SECTIONS: [(&str, &str, &str); 5] = [
    ("The file", "", ""),
    ("Components", "components", ""),
    ("Environments", "environments", ""),
    (
        "Strategies",
        "environments.*.strategy",
        "Also the keys of `components.*.strategy`, which replaces the environment's for one component.",
    ),
    ("Rolling back", "environments.*.rollback", ""),
];

/// The page, as Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut output = HEAD.to_owned();
    for (title, section, introduction) in SECTIONS {
        // Writing to a string cannot fail.
        let _ = write!(output, "\n## {title}\n");
        if !introduction.is_empty() {
            let _ = write!(output, "\n{introduction}\n");
        }
        for key in KEYS.iter().filter(|key| section_of(key) == section) {
            describe(&mut output, key);
        }
    }
    output
}

/// The last section to which a key belongs.
fn section_of(key: &Key) -> &'static str {
    SECTIONS
        .iter()
        .rev()
        .map(|(_, section, _)| *section)
        .find(|section| {
            section.is_empty()
                || key
                    .path
                    .strip_prefix(section)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .unwrap_or("")
}

fn describe(output: &mut String, key: &Key) {
    let _ = write!(output, "\n### `{}`\n\n{}", key.path, key.summary);
    if !key.details.is_empty() {
        let _ = write!(output, " {}", key.details);
    }
    let _ = write!(output, "\n\n- Type: {}\n", key.expected());
    let default = match key.default {
        Default::Required => "required".to_owned(),
        Default::Absent | Default::Text(_) | Default::Depends(_) => {
            format!("default: {}", key.default_words())
        }
    };
    let _ = writeln!(output, "- {}{}", default[..1].to_uppercase(), &default[1..]);
    if !key.example.is_empty() {
        let name = key.name();
        if name == "*" {
            let _ = writeln!(output, "- Example: `{}`", key.example);
        } else {
            let _ = writeln!(output, "- Example: `{name}: {}`", key.example);
        }
    }
}
