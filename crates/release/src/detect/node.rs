//! Node: a server, or a site that is built.

use serde_json::Value;

use super::{draft::Draft, folder::Folder};

/// A tool that builds a site, the folder it leaves, and whether one page answers every path.
const SITES: [(&str, &str, bool); 10] = [
    ("react-scripts", "build", true),
    ("@vue/cli-service", "dist", true),
    ("@docusaurus/core", "build", false),
    ("gatsby", "public", false),
    ("astro", "dist", false),
    ("@11ty/eleventy", "_site", false),
    ("@sveltejs/adapter-static", "build", true),
    ("@angular/cli", "dist", true),
    ("vite", "dist", true),
    ("parcel", "dist", true),
];

/// Libraries of a program that answers requests.
const SERVERS: [&str; 8] =
    ["express", "fastify", "koa", "@hapi/hapi", "@nestjs/core", "restify", "polka", "hono"];

struct Package {
    value: Value,
    install: &'static str,
    lock: &'static str,
    run: &'static str,
}

impl Package {
    fn read(folder: &Folder) -> Option<Self> {
        let value: Value = serde_json::from_str(&folder.text("package.json")?).ok()?;
        // The first lock file decides, from the most particular manager to the most common.
        let managers = [
            ("pnpm-lock.yaml", "pnpm install --frozen-lockfile", "pnpm"),
            ("bun.lock", "bun install --frozen-lockfile", "bun"),
            ("bun.lockb", "bun install --frozen-lockfile", "bun"),
            (".yarnrc.yml", "yarn install --immutable", "yarn"),
            ("yarn.lock", "yarn install --frozen-lockfile", "yarn"),
            ("package-lock.json", "npm ci", "npm"),
            ("npm-shrinkwrap.json", "npm ci", "npm"),
        ];
        let (lock, install, run) = managers
            .into_iter()
            .find(|(lock, ..)| folder.has(lock))
            .unwrap_or(("no lock file", "npm install", "npm"));
        Some(Self { value, install, lock, run })
    }

    fn script(&self, name: &str) -> Option<&str> {
        self.value.get("scripts")?.get(name)?.as_str()
    }

    fn depends_on(&self, name: &str) -> bool {
        ["dependencies", "devDependencies"].iter().any(|kind| {
            self.value.get(kind).and_then(|dependencies| dependencies.get(name)).is_some()
        })
    }

    fn has_dependencies(&self) -> bool {
        ["dependencies", "devDependencies"].iter().any(|kind| {
            self.value
                .get(kind)
                .and_then(Value::as_object)
                .is_some_and(|dependencies| !dependencies.is_empty())
        })
    }

    fn is_workspace(&self, folder: &Folder) -> bool {
        self.value.get("workspaces").is_some() || folder.has("pnpm-workspace.yaml")
    }

    fn name<'a>(&'a self, folder: &'a Folder) -> &'a str {
        let name = self.value.get("name").and_then(Value::as_str);
        // `@acme/web` is the web of acme.
        name.and_then(|name| name.rsplit('/').next())
            .filter(|name| !name.is_empty())
            .unwrap_or(folder.name())
    }

    /// Install and build, as far as there is something to.
    fn build(&self) -> Option<String> {
        let install = self.has_dependencies().then(|| self.install.to_owned());
        let build = self.script("build").map(|_| format!("{} run build", self.run));
        match (install, build) {
            (Some(install), Some(build)) => Some(format!("{install} && {build}")),
            (install, build) => install.or(build),
        }
    }

    fn why(&self, what: &str) -> String {
        format!("package.json has {what}; {} is there", self.lock)
    }
}

/// A program that is started with node.
pub(crate) fn detect_server(folder: &Folder) -> Vec<Draft> {
    let Some(package) = Package::read(folder) else {
        return Vec::new();
    };
    let Some((command, stack, why)) = server(folder, &package) else {
        return Vec::new();
    };
    let mut draft = Draft::process(folder, stack, &why, &command)
        .named(package.name(folder))
        .without_port_if_worker();
    if let Some(run) = package.build() {
        draft = draft.built(&run, ".");
    }
    if package.has_dependencies() && package.lock == "no lock file" {
        draft = draft
            .note("There is no lock file: commit one, so that each build gets the same versions.");
    }
    vec![draft]
}

fn server(folder: &Folder, package: &Package) -> Option<(String, &'static str, String)> {
    if package.depends_on("next") {
        if exports(folder) {
            return None;
        }
        let command = "node_modules/.bin/next start -H 127.0.0.1 -p $PORT".to_owned();
        return Some((command, "Next.js", package.why("next")));
    }
    if package.depends_on("@astrojs/node") {
        let command = "HOST=127.0.0.1 node ./dist/server/entry.mjs".to_owned();
        return Some((command, "Astro", package.why("@astrojs/node")));
    }
    if let Some(start) = package.script("start") {
        if is_development_server(start) || package.is_workspace(folder) {
            return None;
        }
        let plain = !start.contains(['&', '|', ';', '>', '<', '`', '"', '\'']);
        let command = if plain && start.starts_with("node ") {
            // Signals reach the program itself, not npm before it.
            start.to_owned()
        } else {
            format!("{} start", package.run)
        };
        return Some((command, "Node", package.why("the script start")));
    }
    let main = package.value.get("main").and_then(Value::as_str);
    let serves = SERVERS.iter().any(|name| package.depends_on(name));
    let file = main
        .filter(|path| serves && folder.has(path))
        .or_else(|| folder.first_of(&["server.js", "server.mjs"]))
        .or_else(|| folder.first_of(&["index.js", "app.js", "index.mjs"]).filter(|_| serves))?;
    Some((format!("node {file}"), "Node", format!("package.json and {file}")))
}

/// A tool that serves sources to a developer starts no product.
fn is_development_server(start: &str) -> bool {
    let words: Vec<_> = start.split_ascii_whitespace().collect();
    let program = words
        .iter()
        .find(|word| !word.contains('=') && **word != "npx" && **word != "cross-env")
        .copied()
        .unwrap_or("");
    matches!(
        program,
        "vite"
            | "react-scripts"
            | "ng"
            | "gatsby"
            | "astro"
            | "vue-cli-service"
            | "docusaurus"
            | "parcel"
            | "eleventy"
            | "webpack-dev-server"
            | "webpack"
    )
}

/// Whether Next.js writes files instead of serving.
fn exports(folder: &Folder) -> bool {
    ["next.config.js", "next.config.mjs", "next.config.ts"]
        .iter()
        .filter_map(|name| folder.text(name))
        .any(|text| {
            let text: String = text.split_whitespace().collect();
            text.contains("output:'export'") || text.contains("output:\"export\"")
        })
}

/// A site that a tool builds.
pub(crate) fn detect_site(folder: &Folder) -> Vec<Draft> {
    let Some(package) = Package::read(folder) else {
        return Vec::new();
    };
    let (Some(_), Some(run)) = (package.script("build"), package.build()) else {
        return Vec::new();
    };
    let (tool, output, single_page) = if package.depends_on("next") && exports(folder) {
        ("next", "out", false)
    } else {
        let Some(site) = SITES.into_iter().find(|(tool, ..)| package.depends_on(tool)) else {
            return Vec::new();
        };
        site
    };
    let mut draft =
        Draft::files(folder, &format!("site of {tool}"), &package.why(tool), single_page)
            .named(package.name(folder))
            .built(&run, output);
    if tool == "@angular/cli" {
        draft = draft
            .note("Angular leaves the site in dist/NAME or dist/NAME/browser: see angular.json.");
    }
    vec![draft]
}
