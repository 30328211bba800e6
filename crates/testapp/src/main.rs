//! See the library's documentation.

mod options;
mod server;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["shim", directory] => tidegate_shim::main(Path::new(directory)).map_err(|e| e.to_string()),
        ["proxy", "--home", home] => proxy(Path::new(home)),
        ["instance", version, number] => tidegate_loss::instance::run(version, number),
        ["serve", options @ ..] | options => options::Options::read(options).and_then(server::run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn proxy(home: &Path) -> Result<(), String> {
    let folder: PathBuf = home.join("proxy");
    tidegate_proxy::run(tidegate_proxy::Options {
        socket: folder.join("control.sock"),
        home: folder,
        workers: 1,
        take_over: false,
    })
    .map_err(|error| error.to_string())
}
