//! The documentation is true where a machine can tell: manifests in it pass the check, or fail it
//! with the very words that the page shows, and links lead somewhere.

use std::{collections::BTreeMap, fs, path::PathBuf};

use tidegate_house::workspace;

/// A manifest around which fragments make sense.
const COMPONENTS: &str =
    "components:\n  api: { command: ./api, port: auto, route: /, replicas: 2 }\n";

struct Block {
    place: String,
    language: String,
    text: String,
}

/// The Markdown pages that users read, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let texts = workspace::committed_text().expect("git lists the files");
    let pages: BTreeMap<_, _> = texts
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    assert!(!pages.is_empty(), "there are no pages");
    pages
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for (path, text) in pages() {
        let mut open: Option<Block> = None;
        for (index, line) in text.lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                match open.take() {
                    Some(block) => found.push(block),
                    None => {
                        open = Some(Block {
                            place: format!("{}:{}", path.display(), index + 1),
                            language: language.to_owned(),
                            text: String::new(),
                        });
                    }
                }
            } else if let Some(block) = &mut open {
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", path.display());
    }
    found
}

/// The whole manifest of which a block of YAML is a part.
fn whole(text: &str) -> Option<String> {
    let starts = |key: &str| text.lines().any(|line| line.starts_with(key));
    if starts("project:") {
        Some(text.to_owned())
    } else if starts("environments:") && starts("components:") {
        Some(format!("project: shop\n{text}"))
    } else if starts("environments:") {
        Some(format!("project: shop\n{COMPONENTS}{text}"))
    } else if starts("components:") {
        Some(format!("project: shop\n{text}"))
    } else if starts("strategy:") {
        Some(format!("project: shop\n{COMPONENTS}environments:\n  production:\n    {text}"))
    } else {
        None
    }
}

#[test]
fn manifests_in_the_docs_are_what_the_page_says() {
    let mut faults = Vec::new();
    let blocks = blocks();
    let mut judged = 0;
    for (index, block) in blocks.iter().enumerate() {
        if block.language != "yaml" {
            continue;
        }
        let Some(manifest) = whole(&block.text) else {
            faults.push(format!("{}: this YAML is no part of a manifest", block.place));
            continue;
        };
        judged += 1;
        let shown = blocks
            .get(index + 1)
            .filter(|next| next.text.starts_with("error["))
            .map(|next| next.text.trim_end());
        match (tidegate_manifest::read(&manifest, "tidegate.yaml"), shown) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => faults.push(format!("{}: it passes the check", block.place)),
            (Err(problems), None) => {
                faults.push(format!("{}:\n{}", block.place, problems.render(false)));
            }
            (Err(problems), Some(shown)) => {
                let found = problems.render(false);
                let found = found.trim_end();
                if found != shown {
                    faults.push(format!("{}: the check says\n{found}", block.place));
                }
            }
        }
    }
    assert!(judged > 0, "there is no manifest in the docs");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn manifests_of_examples_pass_the_check() {
    let mut found = 0;
    for (path, text) in workspace::committed_text().expect("git lists the files") {
        if path.file_name().is_some_and(|name| name == "tidegate.yaml") {
            found += 1;
            if let Err(problems) = tidegate_manifest::read(&text, &path.display().to_string()) {
                panic!("\n{}", problems.render(false));
            }
        }
    }
    assert!(found > 0, "there is no example");
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let mut faults = Vec::new();
    for (path, text) in &pages {
        for link in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap_or(path).join(file)
            };
            let Ok(target) = fs::canonicalize(workspace::root().join(&target)) else {
                faults.push(format!("{}: {link} leads nowhere", path.display()));
                continue;
            };
            if anchor.is_empty() {
                continue;
            }
            let text = fs::read_to_string(&target).unwrap_or_default();
            if !text.lines().any(|line| is_heading(line, anchor)) {
                faults.push(format!("{}: {link} has no such heading", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let end = rest.find(')')?;
        (!rest[..end].contains(char::is_whitespace)).then_some(&rest[..end])
    })
}

/// Whether a line is the heading to which an anchor leads.
fn is_heading(line: &str, anchor: &str) -> bool {
    let Some(title) = line.strip_prefix('#') else {
        return false;
    };
    let made: String = title
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    made == anchor
}
