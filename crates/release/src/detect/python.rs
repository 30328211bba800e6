//! Python: a server of one of the usual frameworks, or a program.
//!
//! The libraries become a folder of the artifact. Programs that pip installs begin with the
//! absolute path of the interpreter's folder and do not survive the move into the store, so
//! everything is started as `python3 -m MODULE`.

use super::{draft::Draft, folder::Folder};

/// Where libraries go within the artifact.
const VENDOR: &str = "vendor";

/// Files in which an application is looked for.
const SOURCES: [&str; 14] = [
    "main.py",
    "app.py",
    "wsgi.py",
    "asgi.py",
    "server.py",
    "api.py",
    "run.py",
    "application.py",
    "app/main.py",
    "app/__init__.py",
    "app/app.py",
    "src/main.py",
    "src/app.py",
    "api/main.py",
];

struct Dependencies {
    /// Names in lower case with `-`, with what is in brackets after them.
    names: Vec<String>,
    install: Option<String>,
    file: &'static str,
}

impl Dependencies {
    fn read(folder: &Folder) -> Option<Self> {
        let pip = "python3 -m pip install --quiet --no-compile --target vendor";
        let project = folder.toml("pyproject.toml");
        let mut names = Vec::new();
        if let Some(text) = folder.text("requirements.txt") {
            names.extend(text.lines().filter_map(requirement));
        }
        if let Some(project) = &project {
            names.extend(of_project(project));
        }
        if let Some(text) = folder.text("Pipfile") {
            let pipfile: toml::Table = text.parse().unwrap_or_default();
            let packages = pipfile.get("packages").and_then(toml::Value::as_table);
            names.extend(packages.into_iter().flatten().map(|(name, _)| normal(name)));
        }
        let (file, install) = if folder.has("uv.lock") {
            let run = "uv export --quiet --frozen --no-dev --no-emit-project -o locked.txt && uv pip install --quiet --target vendor -r locked.txt";
            ("uv.lock", Some(run.to_owned()))
        } else if folder.has("requirements.txt") {
            let anything = !names.is_empty();
            let run = format!("{pip} -r requirements.txt");
            ("requirements.txt", anything.then_some(run))
        } else if folder.has("Pipfile.lock") {
            let run = format!("pipenv requirements > locked.txt && {pip} -r locked.txt");
            ("Pipfile.lock", Some(run))
        } else if let Some(project) = &project {
            // A pyproject.toml that only holds settings of tools is no package.
            let is_package =
                project.contains_key("project") || project.contains_key("build-system");
            ("pyproject.toml", is_package.then(|| format!("{pip} .")))
        } else if folder.has("setup.py") {
            ("setup.py", Some(format!("{pip} .")))
        } else {
            return folder
                .first_of(&[
                    "manage.py",
                    "main.py",
                    "app.py",
                    "server.py",
                    "wsgi.py",
                    "worker.py",
                    "__main__.py",
                ])
                .map(|_| Self { names, install: None, file: "no requirements" });
        };
        Some(Self { names, install, file })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.split('[').next() == Some(name))
    }

    fn has_exactly(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

fn normal(name: &str) -> String {
    name.trim().to_lowercase().replace(['_', '.'], "-")
}

/// `flask` of `Flask>=3.0 ; python_version > "3.8"  # web`, `fastapi[standard]` of the like.
fn requirement(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with(['#', '-']) {
        return None;
    }
    let end = line
        .find(|character: char| {
            !(character.is_ascii_alphanumeric() || "-_.[],".contains(character))
        })
        .unwrap_or(line.len());
    let name = normal(&line[..end]);
    (!name.is_empty()).then_some(name)
}

fn of_project(project: &toml::Table) -> Vec<String> {
    let listed = project
        .get("project")
        .and_then(|project| project.get("dependencies"))
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .filter_map(requirement);
    let poetry = project
        .get("tool")
        .and_then(|tool| tool.get("poetry"))
        .and_then(|poetry| poetry.get("dependencies"))
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
        .map(|(name, _)| normal(name));
    listed.chain(poetry).collect()
}

struct Start {
    stack: &'static str,
    why: String,
    command: String,
    listens: bool,
    note: Option<&'static str>,
}

pub(crate) fn detect(folder: &Folder) -> Vec<Draft> {
    let Some(dependencies) = Dependencies::read(folder) else {
        return Vec::new();
    };
    if dependencies.has("mkdocs") && folder.has("mkdocs.yml") {
        let install = dependencies.install.unwrap_or_default();
        let run = format!("{install} && PYTHONPATH={VENDOR} python3 -m mkdocs build");
        let why = "mkdocs.yml and mkdocs among the requirements";
        return vec![Draft::files(folder, "site of MkDocs", why, false).built(&run, "site")];
    }
    let start = django(folder, &dependencies)
        .or_else(|| application(folder, &dependencies))
        .or_else(|| ready_made(folder, &dependencies))
        .or_else(|| program(folder));
    let Some(start) = start else {
        return Vec::new();
    };
    let why = format!("{}; {}", start.why, dependencies.file);
    let command = if dependencies.install.is_some() {
        format!("PYTHONPATH={VENDOR} {}", start.command)
    } else {
        start.command
    };
    let mut draft = Draft::process(folder, start.stack, &why, &command);
    if let super::Workload::Process { listens, .. } = &mut draft.workload {
        *listens = start.listens;
    }
    draft = draft.without_port_if_worker();
    if let Some(run) = &dependencies.install {
        draft = draft.built(run, ".");
    }
    if let Some(note) = start.note {
        draft = draft.note(note);
    }
    vec![draft]
}

const ADD_A_SERVER: &str = "This is the framework's development server: gunicorn or uvicorn among the requirements is better.";

fn django(folder: &Folder, dependencies: &Dependencies) -> Option<Start> {
    folder.text("manage.py").filter(|text| text.contains("django"))?;
    let package = folder.folders().find(|folder| folder.has("wsgi.py") || folder.has("asgi.py"));
    let (command, note) = match package {
        Some(package) if dependencies.has("gunicorn") && package.has("wsgi.py") => {
            (format!("python3 -m gunicorn {}.wsgi --bind 127.0.0.1:$PORT", package.name()), None)
        }
        Some(package) if dependencies.has("uvicorn") && package.has("asgi.py") => (
            format!(
                "python3 -m uvicorn {}.asgi:application --host 127.0.0.1 --port $PORT",
                package.name()
            ),
            None,
        ),
        _ => (
            "python3 manage.py runserver --noreload 127.0.0.1:$PORT".to_owned(),
            Some(ADD_A_SERVER),
        ),
    };
    Some(Start {
        stack: "Django",
        why: "manage.py of Django".to_owned(),
        command,
        listens: true,
        note,
    })
}

/// A file that makes an application of one of the frameworks.
fn application(folder: &Folder, dependencies: &Dependencies) -> Option<Start> {
    let frameworks = [
        ("FastAPI", "FastAPI(", true),
        ("Starlette", "Starlette(", true),
        ("Litestar", "Litestar(", true),
        ("Flask", "Flask(", false),
    ];
    for file in SOURCES {
        let Some(text) = folder.text(file) else {
            continue;
        };
        for (stack, call, asynchronous) in frameworks {
            let Some(variable) = assigned(&text, call) else {
                continue;
            };
            let module =
                file.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
            // The shell must not see the brackets of a call.
            let application = if variable.ends_with(')') {
                format!("'{module}:{variable}'")
            } else {
                format!("{module}:{variable}")
            };
            let (command, note) = if asynchronous {
                let command =
                    format!("python3 -m uvicorn {application} --host 127.0.0.1 --port $PORT");
                let ready = dependencies.has("uvicorn")
                    || dependencies.has_exactly("fastapi[standard]")
                    || dependencies.has_exactly("fastapi[all]");
                let note =
                    "It is started with uvicorn, which is not among the requirements: add it.";
                (command, (!ready).then_some(note))
            } else if dependencies.has("gunicorn") {
                (format!("python3 -m gunicorn {application} --bind 127.0.0.1:$PORT"), None)
            } else if dependencies.has("waitress") {
                (format!("python3 -m waitress --listen=127.0.0.1:$PORT {application}"), None)
            } else {
                let command = format!(
                    "python3 -m flask --app {application} run --host 127.0.0.1 --port $PORT"
                );
                (command, Some(ADD_A_SERVER))
            };
            return Some(Start {
                stack,
                why: format!("{file} makes a {stack} application"),
                command,
                listens: true,
                note,
            });
        }
    }
    None
}

/// `app` for a line `app = Flask(__name__)`, `create_app()` when a function of that name makes it.
fn assigned(text: &str, call: &str) -> Option<String> {
    for line in text.lines() {
        let Some((variable, value)) = line.split_once('=') else {
            continue;
        };
        let variable = variable.split(':').next().unwrap_or(variable);
        let is_name = !variable.trim().is_empty()
            && !variable.starts_with(char::is_whitespace)
            && variable
                .trim()
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || character == '_');
        let value = value.trim_start();
        let called = value.starts_with(call)
            || value.split_once('.').is_some_and(|(_, called)| called.starts_with(call));
        if is_name && called {
            return Some(variable.trim().to_owned());
        }
    }
    (call == "Flask(" && text.contains(call) && text.contains("def create_app("))
        .then(|| "create_app()".to_owned())
}

/// A requirement that is a server itself.
fn ready_made(folder: &Folder, dependencies: &Dependencies) -> Option<Start> {
    let streamlit = folder.first_of(&["streamlit_app.py", "app.py", "main.py"]);
    let databases: Vec<_> = folder
        .files_ending(".db")
        .chain(folder.files_ending(".sqlite"))
        .filter(|name| !name.contains(char::is_whitespace))
        .collect();
    let databases = databases.iter().fold(String::new(), |text, name| text + " " + name);
    let known = [
        (
            "datasette",
            format!("python3 -m datasette serve{databases} --host 127.0.0.1 --port $PORT"),
        ),
        (
            "pypiserver",
            "python3 -m pypiserver run --interface 127.0.0.1 --port $PORT packages".to_owned(),
        ),
        ("httpbin", "python3 -m gunicorn httpbin:app --bind 127.0.0.1:$PORT".to_owned()),
        (
            "streamlit",
            format!(
                "python3 -m streamlit run {} --server.address 127.0.0.1 --server.port $PORT --server.headless true",
                streamlit.unwrap_or("app.py")
            ),
        ),
    ];
    let (name, command) = known.into_iter().find(|(name, _)| {
        dependencies.has(name) && (*name != "streamlit" || streamlit.is_some())
    })?;
    Some(Start {
        stack: "Python",
        why: format!("{name}, a server, is among the requirements"),
        command,
        listens: true,
        note: None,
    })
}

/// A file that looks like the one to start.
fn program(folder: &Folder) -> Option<Start> {
    let file = folder.first_of(&[
        "main.py",
        "app.py",
        "server.py",
        "run.py",
        "worker.py",
        "__main__.py",
    ])?;
    let text = folder.text(file).unwrap_or_default();
    let listens = ["PORT", "http.server", "socketserver", "aiohttp", "wsgiref", "tornado"]
        .iter()
        .any(|word| text.contains(word));
    Some(Start {
        stack: "Python",
        why: file.to_owned(),
        command: format!("python3 {file}"),
        listens,
        note: (!listens).then_some(
            "It does not seem to listen on a port. If it does: `port: auto` and `route: /`.",
        ),
    })
}

/// Programs of libraries by the modules that start them.
pub(crate) fn as_module(command: &str) -> Option<String> {
    let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
    let module = match program {
        "waitress-serve" => "waitress",
        "gunicorn" | "uvicorn" | "celery" | "flask" | "hypercorn" | "daphne" | "streamlit"
        | "datasette" | "alembic" | "huey" | "dramatiq" => program,
        "python" | "python3" => return Some(format!("python3 {rest}")),
        _ => return None,
    };
    Some(format!("python3 -m {module} {rest}").trim_end().to_owned())
}
