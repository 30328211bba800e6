//! Writes the pages that are made from the code: `make docs`.

use std::{fs, io};

use tidegate_house::{pages, workspace};

fn main() -> io::Result<()> {
    for (path, text) in pages::generated() {
        let file = workspace::root().join(path);
        if fs::read_to_string(&file).ok().as_deref() == Some(text.as_str()) {
            println!("{path} is as it should be");
        } else {
            fs::write(&file, text)?;
            println!("{path} is written anew");
        }
    }
    Ok(())
}
