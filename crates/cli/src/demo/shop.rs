//! The project that the demo deploys, and the changes that make its three versions.

use std::{fs, io, path::Path};

/// One version of the shop.
pub(super) struct Version {
    /// Its tag.
    pub(super) name: &'static str,
    /// The message of its commit.
    pub(super) subject: &'static str,
    /// What its author changed.
    changes: &'static [Change],
}

/// A piece of text that is replaced.
struct Change {
    file: &'static str,
    before: &'static str,
    after: &'static str,
}

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../examples/shop/", $path)))),*]
    };
}

/// `examples/shop`, as it is when this is built.
const FILES: &[(&str, &str)] = files![
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "api/Cargo.toml",
    "api/src/catalogue.rs",
    "api/src/http.rs",
    "api/src/main.rs",
    "api/src/orders.rs",
    "tidegate.yaml",
    "web/app.js",
    "web/index.html",
    "web/style.css",
    "worker/Cargo.toml",
    "worker/src/main.rs",
];

/// The first version: the example as it is.
pub(super) const V1: Version = Version { name: "v1", subject: "Open the shop", changes: &[] };

/// The second: an honest improvement.
pub(super) const V2: Version = Version {
    name: "v2",
    subject: "Sell tide clocks",
    changes: &[
        Change {
            file: "api/src/main.rs",
            before: r#"const VERSION: &str = "v1";"#,
            after: r#"const VERSION: &str = "v2";"#,
        },
        Change {
            file: "api/src/catalogue.rs",
            before: "pub const CATALOGUE: &[Product] = &[\n",
            after: r#"pub const CATALOGUE: &[Product] = &[
    Product { number: 4, name: "Tide clock", cents: 5_900 },
"#,
        },
    ],
};

/// The third: a mistake as people make them. Customers whose number ends in 00 to 07 are at no
/// level, so that the shop has no price for 8 % of its customers.
pub(super) const V3: Version = Version {
    name: "v3",
    subject: "Give loyal customers a discount",
    changes: &[
        Change {
            file: "api/src/main.rs",
            before: r#"const VERSION: &str = "v2";"#,
            after: r#"const VERSION: &str = "v3";"#,
        },
        Change {
            file: "api/src/catalogue.rs",
            before: "        Some(_) => product.cents,\n",
            after: "        Some(number) => product.cents - product.cents * discount(number) / 100,\n",
        },
        Change {
            file: "api/src/catalogue.rs",
            before: "/// What a customer pays for one piece, in cents.\n",
            after: r#"/// The last two digits of a customer's number tell the level, and each level has its discount in
/// percent.
const LEVELS: [(std::ops::RangeInclusive<u64>, u32); 3] = [(8..=59, 0), (60..=89, 5), (90..=99, 10)];

fn discount(customer: u64) -> u32 {
    let (_, percent) = LEVELS
        .iter()
        .find(|(digits, _)| digits.contains(&(customer % 100)))
        .expect("every customer is at one of the levels");
    *percent
}

/// What a customer pays for one piece, in cents.
"#,
        },
    ],
};

/// Puts the files of the example into `folder`.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    for (path, text) in FILES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// Makes the changes of `version` to the version before it in `folder`.
pub(super) fn change(folder: &Path, version: &Version) -> io::Result<()> {
    for Change { file, before, after } in version.changes {
        let path = folder.join(file);
        let text = fs::read_to_string(&path)?;
        if text.matches(before).count() != 1 {
            let reason = format!("{file} has no single place for the changes of {}", version.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        fs::write(path, text.replacen(before, after, 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, process::Command};

    use super::*;

    #[test]
    fn every_file_of_the_example_is_there() {
        fn collect(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).expect("the folder is there") {
                let path = entry.expect("the folder can be read").path();
                let name = path.strip_prefix(root).expect("it is below").display().to_string();
                match path.is_dir() {
                    true if name == "target" || name == "data" => {}
                    true => collect(root, &path, found),
                    false => drop(found.insert(name)),
                }
            }
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
        let mut found = BTreeSet::new();
        collect(&example, &example, &mut found);
        let known: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(found, known);
    }

    #[test]
    fn the_manifest_is_without_a_problem() {
        let (_, text) = FILES
            .iter()
            .find(|(path, _)| *path == "tidegate.yaml")
            .expect("the example has a manifest");
        assert!(tidegate_manifest::read(text, "tidegate.yaml").is_ok());
    }

    /// Each version passes its own tests: nothing but its users finds the fault of the third.
    #[test]
    fn each_version_compiles_and_passes_its_tests() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        write(folder.path()).expect("the files can be written");
        for version in [&V1, &V2, &V3] {
            change(folder.path(), version).expect("the changes fit");
            let output = Command::new(env!("CARGO"))
                .args(["test", "--quiet", "--locked", "--offline"])
                .current_dir(folder.path())
                .env_remove("CARGO_TARGET_DIR")
                .env("RUSTFLAGS", "-D warnings")
                .output()
                .expect("cargo is there");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", version.name);
        }
    }
}
