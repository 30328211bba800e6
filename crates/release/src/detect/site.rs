//! Files that are a site as they are.

use super::{draft::Draft, folder::Folder};

pub(crate) fn detect(folder: &Folder) -> Vec<Draft> {
    for name in ["", "public", "dist", "site", "_site", "www", "htdocs"] {
        let (place, index) = if name.is_empty() {
            (folder.clone(), "index.html".to_owned())
        } else {
            (folder.folder(name), format!("{name}/index.html"))
        };
        if place.has("index.html") {
            // The folder that holds the site says less than the one around it.
            return vec![
                Draft { path: place.path, ..Draft::files(folder, "static site", &index, false) }
                    .named(if folder.path == "." { "web" } else { folder.name() }),
            ];
        }
    }
    Vec::new()
}
