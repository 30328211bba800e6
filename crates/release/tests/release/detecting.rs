//! A first manifest for each stack, read back by the reader that users meet.

use tidegate_manifest::{Component, Manifest, Strategy, Workload};
use tidegate_release::{Detected, detect};

use crate::support::write;

type Files<'a> = &'a [(&'a str, &'a str)];

/// Makes the files in a folder called `My Shop` and looks at it.
fn look(files: Files) -> Detected {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let root = folder.path().join("My Shop");
    std::fs::create_dir(&root).expect("a folder");
    for (path, text) in files {
        write(&root, path, text);
    }
    detect(&root)
}

fn read(detected: &Detected) -> Manifest {
    let text = &detected.manifest;
    assert!(text.lines().count() < 60, "{text}");
    match tidegate_manifest::read(text, "tidegate.yaml") {
        Ok(checked) => {
            let warnings = checked.warnings.to_string();
            assert!(warnings.is_empty(), "{warnings}\n{text}");
            checked.manifest
        }
        Err(problems) => panic!("{problems}\n{text}"),
    }
}

/// A component in one line: `name [path] route: run -> output; command (port)`.
fn summary(component: &Component) -> String {
    let path = match component.path.as_str() {
        "." => String::new(),
        path => format!(" [{path}]"),
    };
    let route =
        component.route.as_ref().map_or_else(String::new, |route| format!(" {}", route.path));
    let build = component.build.as_ref().map_or_else(String::new, |build| {
        let directory = if build.directory == component.path {
            String::new()
        } else {
            format!("in {}: ", build.directory)
        };
        format!("{directory}{} -> {}; ", build.run, build.output)
    });
    let workload = match &component.workload {
        Workload::Process { command, listens: true, .. } => format!("{command} (port)"),
        Workload::Process { command, .. } => command.clone(),
        Workload::Static { single_page: true, .. } => "single page".to_owned(),
        Workload::Static { single_page: false, .. } => "files".to_owned(),
    };
    format!("{}{path}{route}: {build}{workload}", component.name)
}

fn expect(files: Files, components: &[&str]) -> Detected {
    let detected = look(files);
    let manifest = read(&detected);
    assert_eq!(manifest.project.as_str(), "my-shop");
    assert_eq!(manifest.environments.len(), 1);
    assert_eq!(manifest.environments[0].name.as_str(), "production");
    assert!(matches!(manifest.environments[0].strategy, Strategy::BlueGreen { .. }));
    let found: Vec<String> = manifest.components.iter().map(summary).collect();
    assert_eq!(found, components, "{}", detected.manifest);
    detected
}

const PIP: &str = "python3 -m pip install --quiet --no-compile --target vendor";

#[test]
fn rust() {
    expect(
        &[
            ("Cargo.toml", "[package]\nname = \"shop_api\"\n[dependencies]\naxum = \"1\"\n"),
            ("Cargo.lock", ""),
            ("src/main.rs", ""),
        ],
        &[
            "shop-api /: cargo build --release --locked -> target/release/shop_api; ./shop_api (port)",
        ],
    );
    expect(
        &[
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\n"),
            ("crates/api/Cargo.toml", "[package]\nname = \"api\"\n[dependencies]\naxum = \"1\"\n"),
            ("crates/api/src/main.rs", ""),
            ("crates/api/src/bin/worker.rs", ""),
            ("crates/core/Cargo.toml", "[package]\nname = \"core\"\n"),
            ("crates/core/src/lib.rs", ""),
            ("xtask/Cargo.toml", "[package]\nname = \"xtask\"\n"),
            ("xtask/src/main.rs", ""),
        ],
        &[
            "api [crates/api] /: in .: cargo build --release -p api --bin api -> target/release/api; ./api (port)",
            "worker [crates/api]: in .: cargo build --release -p api --bin worker -> target/release/worker; ./worker",
        ],
    );
}

#[test]
fn go() {
    expect(
        &[("go.mod", "module example.org/team/shop/v2\n"), ("main.go", "package main\n")],
        &["shop /: go build -trimpath -buildvcs=false -o bin/shop . -> bin/shop; ./shop (port)"],
    );
    expect(
        &[
            ("go.mod", "module example.org/shop\n"),
            ("lib.go", "package shop\n"),
            ("cmd/server/main.go", "// Serves.\npackage main\n"),
            ("cmd/worker/main.go", "package main\n"),
        ],
        &[
            "server /: go build -trimpath -buildvcs=false -o bin/server ./cmd/server -> bin/server; ./server (port)",
            "worker: go build -trimpath -buildvcs=false -o bin/worker ./cmd/worker -> bin/worker; ./worker",
        ],
    );
}

#[test]
fn node() {
    expect(
        &[
            (
                "package.json",
                r#"{"name": "@acme/api", "scripts": {"start": "node src/main.js"}, "dependencies": {"express": "5"}}"#,
            ),
            ("package-lock.json", "{}"),
        ],
        &["api /: npm ci -> .; node src/main.js (port)"],
    );
    expect(
        &[
            (
                "package.json",
                r#"{"name": "api", "scripts": {"build": "tsc", "start": "nest start"}, "dependencies": {"@nestjs/core": "11"}}"#,
            ),
            ("pnpm-lock.yaml", ""),
        ],
        &["api /: pnpm install --frozen-lockfile && pnpm run build -> .; pnpm start (port)"],
    );
    expect(
        &[
            (
                "package.json",
                r#"{"name": "web", "scripts": {"build": "next build"}, "dependencies": {"next": "16"}}"#,
            ),
            ("yarn.lock", ""),
        ],
        &[
            "web /: yarn install --frozen-lockfile && yarn run build -> .; node_modules/.bin/next start -H 127.0.0.1 -p $PORT (port)",
        ],
    );
    expect(&[("package.json", "{}"), ("server.js", "")], &["my-shop /: node server.js (port)"]);
}

#[test]
fn sites() {
    expect(
        &[
            (
                "package.json",
                r#"{"name": "web", "scripts": {"build": "vite build", "start": "vite"}, "devDependencies": {"vite": "7"}}"#,
            ),
            ("package-lock.json", "{}"),
            ("index.html", ""),
        ],
        &["web /: npm ci && npm run build -> dist; single page"],
    );
    expect(
        &[
            (
                "package.json",
                r#"{"name": "web", "scripts": {"build": "next build", "start": "next start"}, "dependencies": {"next": "16"}}"#,
            ),
            ("next.config.mjs", "export default { output: 'export' }"),
        ],
        &["web /: npm install && npm run build -> out; files"],
    );
    expect(&[("index.html", "")], &["web /: files"]);
    expect(&[("public/index.html", "")], &["web [public] /: files"]);
}

#[test]
fn python() {
    expect(
        &[
            ("requirements.txt", "Django>=5\ngunicorn\n"),
            ("manage.py", "import django"),
            ("shop/wsgi.py", ""),
        ],
        &[&format!(
            "my-shop /: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 -m gunicorn shop.wsgi --bind 127.0.0.1:$PORT (port)"
        )],
    );
    expect(
        &[
            (
                "pyproject.toml",
                "[project]\nname = \"x\"\ndependencies = [\"fastapi\", \"uvicorn[standard]>=0.30\"]\n",
            ),
            ("uv.lock", ""),
            ("app/main.py", "import fastapi\n\nservice: fastapi.FastAPI = fastapi.FastAPI()\n"),
        ],
        &[
            "my-shop /: uv export --quiet --frozen --no-dev --no-emit-project -o locked.txt && uv pip install --quiet --target vendor -r locked.txt -> .; PYTHONPATH=vendor python3 -m uvicorn app.main:service --host 127.0.0.1 --port $PORT (port)",
        ],
    );
    expect(
        &[("requirements.txt", "flask # web\n"), ("app.py", "app = Flask(__name__)\n")],
        &[&format!(
            "my-shop /: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 -m flask --app app:app run --host 127.0.0.1 --port $PORT (port)"
        )],
    );
    expect(
        &[
            ("requirements.txt", "flask\nwaitress==3.0\n"),
            ("app/__init__.py", "def create_app():\n    app = Flask(__name__)\n    return app\n"),
        ],
        &[&format!(
            "my-shop /: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 -m waitress --listen=127.0.0.1:$PORT 'app:create_app()' (port)"
        )],
    );
    expect(
        &[("requirements.txt", "datasette==0.65.1\n"), ("shop.db", "")],
        &[&format!(
            "my-shop /: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 -m datasette serve shop.db --host 127.0.0.1 --port $PORT (port)"
        )],
    );
    expect(&[("main.py", "import http.server\n")], &["my-shop /: python3 main.py (port)"]);
    expect(&[("worker.py", "print('hi')\n")], &["my-shop: python3 worker.py"]);
}

#[test]
fn ruby() {
    expect(
        &[("Gemfile", "gem 'puma'\n"), ("config.ru", "")],
        &[
            "my-shop /: bundle config set --local path vendor/bundle && bundle install -> .; bundle exec puma -b tcp://127.0.0.1:$PORT (port)",
        ],
    );
}

#[test]
fn a_procfile_wins() {
    let detected = expect(
        &[
            (
                "Procfile",
                "# processes\nweb: gunicorn shop:app\nworker: celery -A shop worker\nrelease: ./migrate.sh\n",
            ),
            ("requirements.txt", "flask\ngunicorn\ncelery\n"),
            ("app.py", "app = Flask(__name__)\n"),
        ],
        &[
            &format!(
                "web /: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 -m gunicorn shop:app (port)"
            ),
            &format!(
                "worker: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 -m celery -A shop worker"
            ),
        ],
    );
    assert!(detected.manifest.contains("./migrate.sh"), "{}", detected.manifest);
    expect(
        &[
            ("Procfile", "web: ./target/release/shop --port $PORT\n"),
            ("Cargo.toml", "[package]\nname = \"shop\"\n"),
            ("src/main.rs", ""),
        ],
        &["web /: cargo build --release -> target/release/shop; ./shop --port $PORT (port)"],
    );
}

#[test]
fn a_dockerfile_gives_its_command() {
    let detected = expect(
        &[(
            "Dockerfile",
            "FROM rust AS build\nCMD [\"no\"]\nFROM debian\nRUN a && \\\n  b\nEXPOSE 9000/tcp\nENTRYPOINT [\"/usr/bin/app\"]\nCMD [\"--name\", \"my shop\"]\n",
        )],
        &["my-shop /: /usr/bin/app --name 'my shop' (port)"],
    );
    for said in ["containers come later", "port: 9000"] {
        assert!(detected.manifest.contains(said), "{}", detected.manifest);
    }
}

#[test]
fn several_components_in_one_repository() {
    expect(
        &[
            ("package.json", r#"{"workspaces": ["apps/*"], "scripts": {"start": "turbo start"}}"#),
            (
                "apps/web/package.json",
                r#"{"name": "web", "scripts": {"build": "vite build"}, "devDependencies": {"vite": "7"}}"#,
            ),
            ("apps/api/go.mod", "module api\n"),
            ("apps/api/main.go", "package main\n"),
            ("worker/main.py", "import redis\n"),
            ("worker/requirements.txt", "redis\n"),
            ("node_modules/x/package.json", r#"{"scripts": {"start": "node x"}}"#),
            ("docs/index.html", ""),
        ],
        &[
            "api [apps/api] /api: go build -trimpath -buildvcs=false -o bin/api . -> bin/api; ./api (port)",
            "web [apps/web] /: npm install && npm run build -> dist; single page",
            &format!(
                "worker [worker]: {PIP} -r requirements.txt -> .; PYTHONPATH=vendor python3 main.py"
            ),
        ],
    );
}

#[test]
fn nothing_known_still_gives_a_valid_manifest() {
    for files in [
        &[][..],
        &[("README.md", "hello")],
        &[("package.json", "{ broken")],
        &[("Cargo.toml", "=")],
    ] {
        let detected = look(files);
        let manifest = read(&detected);
        assert_eq!(manifest.components.len(), 1);
        assert!(detected.manifest.contains("Nothing was recognised"));
    }
}

#[test]
fn names_and_texts_of_any_kind_stay_valid() {
    let many: Vec<(String, &str)> = (0..9)
        .map(|number| (format!("apps/Ünï code_{number}: #x/index.html"), ""))
        .chain([
            (
                "apps/a b/Procfile".to_owned(),
                "web: echo \"it's: #1\" \u{7}\té {x} # y\nrelease: a\u{b}b\n",
            ),
            ("apps/a-b/index.html".to_owned(), ""),
            ("apps/2/index.html".to_owned(), ""),
        ])
        .collect();
    let files: Vec<(&str, &str)> = many.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let detected = look(&files);
    let manifest = read(&detected);
    assert_eq!(manifest.components.len(), 6, "{}", detected.manifest);
    assert!(detected.findings.iter().any(|finding| finding.what == "left out"));
}
