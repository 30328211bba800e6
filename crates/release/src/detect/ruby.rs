//! Ruby: what Rack starts.

use super::{draft::Draft, folder::Folder};

pub(crate) fn detect(folder: &Folder) -> Vec<Draft> {
    let Some(gems) = folder.text("Gemfile") else {
        return Vec::new();
    };
    if !folder.has("config.ru") {
        return Vec::new();
    }
    let (stack, command) = if gems.contains("rails") {
        ("Rails", "bundle exec rails server -b 127.0.0.1 -p $PORT")
    } else if gems.contains("puma") {
        ("Ruby", "bundle exec puma -b tcp://127.0.0.1:$PORT")
    } else {
        ("Ruby", "bundle exec rackup -o 127.0.0.1 -p $PORT")
    };
    let run = "bundle config set --local path vendor/bundle && bundle install";
    vec![Draft::process(folder, stack, "Gemfile and config.ru", command).built(run, ".")]
}
