//! The table itself, in the order in which it is documented.

use super::{Form, Key, Naming};
use crate::scalar::Kind;

const TEXT: Form = Form::Scalar(Kind::Text);
const COMMAND: Form = Form::Scalar(Kind::Command);
const NAME: Form = Form::Scalar(Kind::Name);
const BOOLEAN: Form = Form::Scalar(Kind::Boolean);
const DURATION: Form = Form::Scalar(Kind::Duration);
const POSITIVE: Form = Form::Scalar(Kind::PositiveDuration);
const SHARE: Form = Form::Scalar(Kind::Share);
const SIZE: Form = Form::Scalar(Kind::Size);
const PATH: Form = Form::Scalar(Kind::Path);
const ABSOLUTE_PATH: Form = Form::Scalar(Kind::AbsolutePath);
const URL_PATH: Form = Form::Scalar(Kind::UrlPath);
const VERBATIM: Form = Form::Scalar(Kind::Verbatim);
const MAPPING: Form = Form::Mapping;

const fn integer(least: u32, most: u32) -> Form {
    Form::Scalar(Kind::Integer { least, most })
}

const fn choice(words: &'static [&'static str]) -> Form {
    Form::Scalar(Kind::Choice(words))
}

/// Every key.
pub(crate) const KEYS: &[Key] = &[
    Key::new("version", &[integer(1, 1)], "Version of the manifest's format.")
        .default("1")
        .details("There is only version 1.")
        .example("1"),
    Key::new("project", &[NAME], "Name of the project.")
        .required()
        .details(
            "One repository, one project. With the environment's name it is what is deployed to, \
             as in `shop/production`; do not change it once something is deployed.",
        )
        .example("shop"),
    Key::new(
        "components",
        &[Form::Named(Naming::Name)],
        "The deployable parts of the project, by name.",
    )
    .required()
    .details("Names have 1 to 40 lower-case letters, digits and `-`, and start with a letter.")
    .example("{ api: { command: ./api --port $PORT, port: auto } }"),
    Key::new("components.*", &[MAPPING], "One deployable part.")
        .details("It has either `command`, and runs as processes, or `static`, and is files that the proxy serves.")
        .example("{ command: ./api --port $PORT, port: auto }"),
    Key::new("components.*.path", &[PATH], "Where its files are, in the repository.")
        .default(".")
        .details("The component counts as changed only when something below this path, or its build, changes.")
        .example("apps/api"),
    Key::new("components.*.build", &[MAPPING], "How its artifact is made.")
        .details(
            "Runs once per commit in a clean checkout; the same bytes then go to each environment. \
             Without it the artifact is `path` as it is committed.",
        )
        .example("{ run: cargo build --release, output: target/release/api }"),
    Key::new("components.*.build.run", &[COMMAND], "The command that builds, run by `/bin/sh -c`.")
        .required()
        .example("cargo build --release"),
    Key::new(
        "components.*.build.output",
        &[PATH],
        "The file or folder that is the artifact, relative to `directory`.",
    )
    .required()
    .details("`.` takes the whole folder.")
    .example("target/release/api"),
    Key::new("components.*.build.directory", &[PATH], "Where `run` runs, in the repository.")
        .depends("the component's `path`")
        .example("apps/api"),
    Key::new("components.*.build.timeout", &[POSITIVE], "A build that runs longer has failed.")
        .default("15m")
        .example("30m"),
    Key::new("components.*.command", &[COMMAND], "What runs: by `/bin/sh -c`, in the artifact's folder.")
        .details("Required, unless the component is `static`. It finds its port in `$PORT`.")
        .example("./api --port $PORT"),
    Key::new(
        "components.*.port",
        &[choice(&["auto", "none"]), integer(1, 65535)],
        "The port on which the process listens.",
    )
    .depends("`auto` with a route or an HTTP or TCP health check, otherwise `none`")
    .details(
        "`auto`: each instance is given a free port in `$PORT`. `none`: it does not listen. A number: \
         a port that the process insists on; then there can be only one instance at a time, so \
         `replicas` is 1 and the strategy is `recreate`.",
    )
    .example("auto"),
    Key::new("components.*.replicas", &[integer(1, 1000)], "How many instances run.")
        .default("1")
        .details("An environment can say otherwise in its own `replicas`.")
        .example("2"),
    Key::new("components.*.depends_on", &[Form::List], "Components that are deployed before this one.")
        .default("[]")
        .example("[db]"),
    Key::new("components.*.depends_on.*", &[NAME], "A component that is deployed before this one.").example("db"),
    Key::new("components.*.health", &[URL_PATH, MAPPING], "How the health of an instance is told.")
        .depends("a TCP check when it listens, otherwise that it has run for `1s`")
        .details(
            "One of `path`, `tcp`, `command` or `running`. The short form is the path alone: \
             `health: /health`.",
        )
        .example("{ path: /health, interval: 2s }"),
    Key::new("components.*.health.path", &[URL_PATH], "Healthy when GET on this path answers 200 to 399.")
        .example("/health"),
    Key::new("components.*.health.ready", &[URL_PATH], "Fit for traffic when GET on this path answers 200 to 399.")
        .depends("the same check as for health")
        .details(
            "An instance that is alive but not ready gets no requests and is not replaced.",
        )
        .example("/ready"),
    Key::new("components.*.health.tcp", &[BOOLEAN], "Healthy when the port accepts a connection.")
        .default("false")
        .example("true"),
    Key::new("components.*.health.command", &[COMMAND], "Healthy when this command exits with 0.")
        .details("Run with the instance's variables, in its folder.")
        .example("./check"),
    Key::new("components.*.health.running", &[POSITIVE], "Healthy when the process has run for this long.")
        .default("1s")
        .details("It holds only when there is no other check and the component does not listen.")
        .example("2s"),
    Key::new("components.*.health.interval", &[POSITIVE], "Time between two checks.")
        .default("2s")
        .example("5s"),
    Key::new("components.*.health.timeout", &[POSITIVE], "A check without an answer by then has failed.")
        .default("1s")
        .example("3s"),
    Key::new(
        "components.*.health.retries",
        &[integer(1, 1000)],
        "So many failures in a row make an instance unhealthy.",
    )
    .default("3")
    .example("5"),
    Key::new("components.*.health.start_period", &[DURATION], "Failures this soon after the start do not count.")
        .default("0s")
        .example("20s"),
    Key::new(
        "components.*.health.deadline",
        &[POSITIVE],
        "An instance that is not ready this long after its start has failed.",
    )
    .default("60s")
    .example("2m"),
    Key::new("components.*.stop", &[MAPPING], "How an instance is stopped.")
        .details(
            "First it gets no new requests and `drain` passes or its last request ends; then it gets \
             `signal`; then, `timeout` later, SIGKILL.",
        )
        .example("{ signal: SIGINT, timeout: 30s }"),
    Key::new(
        "components.*.stop.signal",
        &[choice(&["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"])],
        "The signal that asks its processes to end.",
    )
    .default("SIGTERM")
    .example("SIGINT"),
    Key::new("components.*.stop.timeout", &[DURATION], "Time between `signal` and SIGKILL.")
        .default("10s")
        .example("30s"),
    Key::new("components.*.stop.drain", &[DURATION], "Requests in flight get at most this long to end.")
        .details(
            "WebSockets that are still open 3 s before the end, or in the middle of a shorter time, \
             are closed by a frame that says so.",
        )
        .default("30s")
        .example("1m"),
    Key::new("components.*.log", &[MAPPING], "How much of an instance's output is kept.")
        .example("{ file_size: 16MiB, files: 5 }"),
    Key::new("components.*.log.file_size", &[SIZE], "A log file is rotated at this size.")
        .default("8MiB")
        .example("16MiB"),
    Key::new(
        "components.*.log.files",
        &[integer(1, 100)],
        "So many log files are kept, the current one included.",
    )
    .default("3")
    .example("5"),
    Key::new(
        "components.*.route",
        &[choice(&["none"]), URL_PATH, MAPPING],
        "Which requests come here.",
    )
    .depends(
        "`/` for the only static site, or for a component with a `port` when nothing else could \
         take requests; otherwise none",
    )
    .details(
        "The longest matching path wins, and a named host wins over any host. The short form is the \
         path alone: `route: /api`. `none` takes no requests, also where the default would.",
    )
    .example("{ path: /api, host: shop.example.com }"),
    Key::new("components.*.route.path", &[URL_PATH], "Only paths that are this or below it.")
        .default("/")
        .example("/api"),
    Key::new("components.*.route.host", &[Form::Scalar(Kind::Host)], "Only requests for this host.")
        .depends("any host")
        .example("shop.example.com"),
    Key::new(
        "components.*.route.strip_prefix",
        &[BOOLEAN],
        "Remove `path` from the request before it goes on.",
    )
    .default("false")
    .example("true"),
    Key::new(
        "components.*.route.sticky",
        &[choice(&["none", "cookie"]), MAPPING],
        "How a visitor is known again, and stays with one revision during a rollout.",
    )
    .depends("`cookie` for a static site, otherwise `none`")
    .details(
        "A visitor moves to the candidate at most once while its share grows, and back when the \
         deployment goes back. `cookie` gives visitors a signed cookie, only while two revisions \
         have a share; the application never sees it. `none` divides by request.",
    )
    .example("cookie"),
    Key::new(
        "components.*.route.sticky.header",
        &[Form::Scalar(Kind::Header)],
        "Know visitors by the value of this header; requests without it are divided by request.",
    )
    .required()
    .example("X-User-Id"),
    Key::new(
        "components.*.route.mirror",
        &[SHARE],
        "This share of requests is sent to the candidate as a copy, too.",
    )
    .default("0%")
    .details(
        "Only GET, HEAD and OPTIONS without a body that the stable revision answers, as long as \
         there is a candidate, also before it has a share. Copies carry `Tidegate-Mirror: 1`; their \
         answers are thrown away and no guard counts them.",
    )
    .example("5%"),
    Key::new(
        "components.*.route.concurrency",
        &[integer(1, 1_000_000), MAPPING],
        "How many requests each instance takes at once.",
    )
    .depends("any number")
    .details(
        "Over all workers of the proxy. More of them wait in a queue of the revision. The short form is \
         the limit alone: `concurrency: 50`. A revision that is full gives no requests to another one, \
         so that shares stay what they are.",
    )
    .example("{ limit: 50, queue: 200, wait: 2s }"),
    Key::new(
        "components.*.route.concurrency.limit",
        &[integer(1, 1_000_000)],
        "So many requests are in flight at once.",
    )
    .required()
    .example("50"),
    Key::new(
        "components.*.route.concurrency.queue",
        &[integer(0, 1_000_000)],
        "So many more wait for their turn, the first come first.",
    )
    .default("100")
    .details("The others are answered with 503 and `Retry-After` at once.")
    .example("20"),
    Key::new(
        "components.*.route.concurrency.wait",
        &[POSITIVE],
        "A request that has waited for this long is answered with 503.",
    )
    .default("5s")
    .example("2s"),
    Key::new(
        "components.*.route.slow_start",
        &[DURATION],
        "How long an instance that is new or has returned takes a smaller part than the others.",
    )
    .default("10s")
    .details("It begins with a tenth of its part. The share of its revision does not change.")
    .example("30s"),
    Key::new(
        "components.*.route.protocol",
        &[choice(&["http1", "h2c"])],
        "What the proxy speaks with the instances.",
    )
    .default("http1")
    .details(
        "`http1` is HTTP/1.1. `h2c` is HTTP/2 without encryption, by prior knowledge: what gRPC \
         needs. Clients may speak either with the proxy, whatever stands here. With `h2c`, answers \
         of gRPC count as errors when their status is UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, \
         UNAVAILABLE or DATA_LOSS.",
    )
    .example("h2c"),
    Key::new(
        "components.*.env",
        &[Form::Named(Naming::Variable)],
        "The variables that the component is given.",
    )
    .details(
        "Every variable is declared here; environments give values. A value alone is the default of \
         a text: `GREETING: hello`.",
    )
    .example("{ LOG_LEVEL: { type: \"enum(debug, info)\", default: info }, GREETING: hello }"),
    Key::new("components.*.env.*", &[VERBATIM, MAPPING], "A variable.").example("hello"),
    Key::new(
        "components.*.env.*.type",
        &[Form::Scalar(Kind::VariableType)],
        "Which values it takes.",
    )
    .default("text")
    .details(
        "`text`, `integer`, `number`, `boolean`, `url`, `port`, `duration`, or a list of values as \
         in \"enum(debug, info, warn)\".",
    )
    .example("\"enum(debug, info, warn)\""),
    Key::new("components.*.env.*.default", &[VERBATIM], "Its value where the environment gives none.")
        .example("info"),
    Key::new("components.*.env.*.description", &[TEXT], "What it is for.")
        .example("How much is logged"),
    Key::new(
        "components.*.env.*.required",
        &[BOOLEAN],
        "Whether every environment must have a value for it.",
    )
    .default("false")
    .details("A default is a value, too.")
    .example("true"),
    Key::new(
        "components.*.static",
        &[BOOLEAN, MAPPING],
        "Files that the proxy serves; no process runs.",
    )
    .default("false")
    .details("The files are those of the artifact. The short form is `static: true`.")
    .example("{ single_page: true }"),
    Key::new(
        "components.*.static.keep_assets",
        &[DURATION],
        "How long files of former releases are still answered to pages that are open somewhere.",
    )
    .default("24h")
    .details(
        "Only files with a fingerprint in their name, as build tools put it there \
         (`app.3f9c1a2b.js`, `index-BkQ3dXyZ.css`), that the release that answers does not have, and \
         never pages. It begins when the former release has left; while two releases are there, each \
         answers the assets of the other. At most ten releases are looked into. With `0s` a release \
         answers its own files only.",
    )
    .example("7d"),
    Key::new(
        "components.*.static.single_page",
        &[BOOLEAN],
        "Answer unknown paths without an extension with `/index.html`.",
    )
    .default("false")
    .details("For applications that route in the browser.")
    .example("true"),
    Key::new(
        "components.*.strategy",
        &[choice(&STRATEGIES), MAPPING],
        "How this component is rolled out, in place of the environment's strategy.",
    )
    .depends("the environment's; `recreate` with a fixed port")
    .details("It is written like `environments.*.strategy`.")
    .example("recreate"),
    Key::new(
        "environments",
        &[Form::Named(Naming::Name)],
        "Where releases run, by name.",
    )
    .depends("one environment `local` with every default")
    .example("{ staging: { strategy: rolling } }"),
    Key::new("environments.*", &[MAPPING, Form::Nothing], "One place where releases run.")
        .example("{ listen: 8080, strategy: canary }"),
    Key::new(
        "environments.*.listen",
        &[integer(1, 65535), Form::Scalar(Kind::Address)],
        "Where the environment is reached.",
    )
    .depends("a free port on 127.0.0.1, chosen once and kept")
    .details("A number alone is a port on 127.0.0.1.")
    .example("127.0.0.1:8080"),
    Key::new("environments.*.tls", &[MAPPING], "Encrypts the environment: it is reached by HTTPS.")
        .depends("plain HTTP")
        .details(
            "TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1. At least one of `certificates` and `acme`. \
             Plain HTTP is answered with 400 then; see `redirect_from`.",
        )
        .example(
            "{ certificates: [{ certificate: /etc/ssl/shop.pem, key: /etc/ssl/shop.key }] }",
        ),
    Key::new(
        "environments.*.tls.certificates",
        &[Form::List],
        "Certificates with their keys, in files on the machine that serves.",
    )
    .depends("none")
    .details(
        "A client is shown the first that is valid for the host it asks for; the first of all when \
         none is. The files are read when they are named first and again when they change; a pair \
         that cannot be used does not take the place of one in use.",
    )
    .example("[{ certificate: /etc/ssl/shop.pem, key: /etc/ssl/shop.key }]"),
    Key::new("environments.*.tls.certificates.*", &[MAPPING], "A certificate and its key.")
        .example("{ certificate: /etc/ssl/shop.pem, key: /etc/ssl/shop.key }"),
    Key::new(
        "environments.*.tls.certificates.*.certificate",
        &[ABSOLUTE_PATH],
        "The file of the certificate in PEM form, followed by those that lead to a known one.",
    )
    .required()
    .example("/etc/letsencrypt/live/shop.example.com/fullchain.pem"),
    Key::new(
        "environments.*.tls.certificates.*.key",
        &[ABSOLUTE_PATH],
        "The file of its private key in PEM form, not encrypted.",
    )
    .required()
    .example("/etc/letsencrypt/live/shop.example.com/privkey.pem"),
    Key::new(
        "environments.*.tls.acme",
        &[MAPPING],
        "Certificates that the proxy orders and renews by itself (ACME, as by Let's Encrypt).",
    )
    .depends("none")
    .details(
        "The hosts have to lead to this environment at port 443, or at port 80 with `redirect_from`. \
         For a host that a certificate of `certificates` is valid for none is ordered.",
    )
    .example("{ hosts: [shop.example.com], agree_to_terms: true }"),
    Key::new(
        "environments.*.tls.acme.hosts",
        &[Form::List],
        "The hosts; each has a certificate of its own.",
    )
    .required()
    .example("[shop.example.com, www.shop.example.com]"),
    Key::new(
        "environments.*.tls.acme.hosts.*",
        &[Form::Scalar(Kind::Host)],
        "A host. Wildcards cannot be ordered.",
    )
    .example("shop.example.com"),
    Key::new(
        "environments.*.tls.acme.agree_to_terms",
        &[BOOLEAN],
        "That you agree to the authority's terms of service, which has to be `true`.",
    )
    .required()
    .details("Those of Let's Encrypt are at https://letsencrypt.org/repository/.")
    .example("true"),
    Key::new(
        "environments.*.tls.acme.email",
        &[TEXT],
        "Where the authority reaches somebody.",
    )
    .depends("none is given")
    .example("ops@example.com"),
    Key::new(
        "environments.*.tls.acme.directory",
        &[TEXT],
        "The address of the authority's directory.",
    )
    .default("https://acme-v02.api.letsencrypt.org/directory")
    .details(
        "For trials there is https://acme-staging-v02.api.letsencrypt.org/directory, whose \
         certificates no browser trusts and which takes many more orders.",
    )
    .example("https://ca.example.com/acme/directory"),
    Key::new(
        "environments.*.tls.acme.root",
        &[ABSOLUTE_PATH],
        "A file in PEM form with the certificate by which the authority's own server is known.",
    )
    .depends("those that the system trusts")
    .details("For an authority of your own.")
    .example("/etc/ssl/our-authority.pem"),
    Key::new(
        "environments.*.tls.redirect_from",
        &[integer(1, 65535), Form::Scalar(Kind::Address)],
        "Whoever asks by plain HTTP at this address is sent to HTTPS.",
    )
    .depends("plain HTTP is not listened to")
    .details(
        "With 308, to the same host and path. A number alone is a port on 127.0.0.1. An authority \
         that asks whether a host leads here (`acme`) is answered there, too.",
    )
    .example("0.0.0.0:80"),
    Key::new(
        "environments.*.gateway",
        &[MAPPING],
        "How the proxy takes the requests of the environment, and what it tells of them.",
    )
    .example("{ concurrency: 1000, metrics: 9464 }"),
    Key::new(
        "environments.*.gateway.concurrency",
        &[integer(1, 1_000_000), MAPPING],
        "How many requests the environment takes at once, all components together.",
    )
    .depends("any number")
    .details(
        "Those that wait for room at an instance are among them. The short form is the limit alone: \
         `concurrency: 1000`.",
    )
    .example("{ limit: 1000, queue: 500 }"),
    Key::new(
        "environments.*.gateway.concurrency.limit",
        &[integer(1, 1_000_000)],
        "So many requests are in flight at once.",
    )
    .required()
    .example("50"),
    Key::new(
        "environments.*.gateway.concurrency.queue",
        &[integer(0, 1_000_000)],
        "So many more wait for their turn, the first come first.",
    )
    .default("100")
    .details("The others are answered with 503 and `Retry-After` at once.")
    .example("20"),
    Key::new(
        "environments.*.gateway.concurrency.wait",
        &[POSITIVE],
        "A request that has waited for this long is answered with 503.",
    )
    .default("5s")
    .example("2s"),
    Key::new(
        "environments.*.gateway.metrics",
        &[integer(1, 65535), Form::Scalar(Kind::Address)],
        "Where Prometheus reads what is counted, at the path `/metrics`.",
    )
    .depends("it is not shown")
    .details(
        "A number alone is a port on 127.0.0.1. Environments that name the same address are shown \
         together. Whoever reaches the address can read it.",
    )
    .example("127.0.0.1:9464"),
    Key::new(
        "environments.*.gateway.access_log",
        &[MAPPING],
        "A file in which each request leaves a line of JSON.",
    )
    .depends("no file is written")
    .details(
        "A file that was renamed or removed is begun anew within a second, so that any program can \
         rotate it. When the disk is full, requests go on, and lines are lost and counted.",
    )
    .example("{ path: /var/log/shop.log, sample: 10%, query: drop }"),
    Key::new(
        "environments.*.gateway.access_log.path",
        &[ABSOLUTE_PATH],
        "The file, on the machine that serves.",
    )
    .required()
    .example("/var/log/shop/access.log"),
    Key::new(
        "environments.*.gateway.access_log.sample",
        &[SHARE],
        "The share of the requests that leave a line.",
    )
    .default("100%")
    .details("Requests that were answered with 500 and more, or not at all, always leave one.")
    .example("10%"),
    Key::new(
        "environments.*.gateway.access_log.query",
        &[choice(&["names", "keep", "drop"])],
        "What is written of query strings, in which there may be secrets.",
    )
    .default("names")
    .details(
        "`names`: the names of the parameters without their values. `keep`: all of it. `drop`: \
         nothing.",
    )
    .example("drop"),
    Key::new(
        "environments.*.gateway.trusted_proxies",
        &[Form::List],
        "Proxies and load balancers in front: what they say of where a request comes from is believed.",
    )
    .depends("nobody is believed")
    .details(
        "From these, `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are taken and \
         continued, or `Forwarded` where there is no `X-Forwarded-For`. The client is the last \
         address in the chain that is not in this list; what stands before it is anybody's word \
         and is removed. From everybody else these headers are removed and written anew.",
    )
    .example("[10.0.0.0/8, 127.0.0.1]"),
    Key::new(
        "environments.*.gateway.trusted_proxies.*",
        &[Form::Scalar(Kind::Network)],
        "An IP address or a network.",
    )
    .example("10.0.0.0/8"),
    Key::new(
        "environments.*.gateway.proxy_protocol",
        &[BOOLEAN],
        "Connections begin with a header of the PROXY protocol, which says for whom they are.",
    )
    .default("false")
    .details(
        "Versions 1 and 2, before TLS. A connection without the header is closed. With \
         `trusted_proxies`, so are the connections of everybody else; without, whoever reaches the \
         port is believed.",
    )
    .example("true"),
    Key::new(
        "environments.*.gateway.limits",
        &[MAPPING],
        "How long clients and instances may take, and how much a client may send.",
    )
    .details(
        "The defaults are safe for an address that anybody can reach. What is about the \
         connections of clients holds for those that begin after a deployment, the rest for each \
         request from then on.",
    )
    .example("{ answer_timeout: 5m, head_size: 16KiB }"),
    Key::new(
        "environments.*.gateway.limits.head_size",
        &[SIZE],
        "The largest head of a request: its first line and its headers.",
    )
    .default("64KiB")
    .details("From 8KiB to 1MiB. What is larger is answered with 431, and the connection is closed.")
    .example("16KiB"),
    Key::new(
        "environments.*.gateway.limits.head_timeout",
        &[POSITIVE],
        "From the first byte of a request to the end of its head.",
    )
    .default("30s")
    .details("At most `1h`, as all times here. The connection is closed then.")
    .example("10s"),
    Key::new(
        "environments.*.gateway.limits.idle_timeout",
        &[POSITIVE],
        "A client's connection on which nothing is asked for this long is closed.",
    )
    .default("75s")
    .example("2m"),
    Key::new(
        "environments.*.gateway.limits.connect_timeout",
        &[POSITIVE],
        "For a connection to an instance to be made.",
    )
    .default("2s")
    .details("Another instance is asked then.")
    .example("500ms"),
    Key::new(
        "environments.*.gateway.limits.answer_timeout",
        &[POSITIVE],
        "From the last byte of a request to the head of its answer.",
    )
    .default("1m")
    .details(
        "The request is answered with 504 then. An answer that has begun may take as long as it \
         likes.",
    )
    .example("5m"),
    Key::new(
        "environments.*.gateway.limits.http2_streams",
        &[integer(1, 10_000)],
        "So many requests a client may have under way on one HTTP/2 connection.",
    )
    .default("128")
    .example("64"),
    Key::new(
        "environments.*.strategy",
        &[choice(&STRATEGIES), MAPPING],
        "How components go from one release to the next.",
    )
    .default("blue_green")
    .details(
        "One of `recreate`, `rolling`, `blue_green` and `canary`: the word alone with its defaults, \
         or a mapping with that one key.",
    )
    .example("{ canary: { steps: [10%, 50%, 100%], bake: 2m } }"),
    Key::new(
        "environments.*.strategy.recreate",
        &[MAPPING],
        "Stop the old, then start the new: nobody answers in between.",
    )
    .example("{ bake: 10s }"),
    Key::new("environments.*.strategy.recreate.bake", &[DURATION], "How long the new is watched after its start.")
        .default("10s")
        .example("30s"),
    Key::new(
        "environments.*.strategy.rolling",
        &[MAPPING],
        "Replace a few instances at a time.",
    )
    .example("{ max_surge: 1, max_unavailable: 0 }"),
    Key::new(
        "environments.*.strategy.rolling.max_surge",
        &[integer(0, 1000)],
        "So many instances more than `replicas` may run.",
    )
    .default("1")
    .example("2"),
    Key::new(
        "environments.*.strategy.rolling.max_unavailable",
        &[integer(0, 1000)],
        "So many instances fewer than `replicas` may run.",
    )
    .default("0")
    .details("It and `max_surge` cannot both be 0.")
    .example("1"),
    Key::new(
        "environments.*.strategy.rolling.bake",
        &[DURATION],
        "How long the new is watched after the last instances.",
    )
    .default("10s")
    .example("1m"),
    Key::new(
        "environments.*.strategy.blue_green",
        &[MAPPING],
        "Start all of the new beside the old, then switch all traffic at once.",
    )
    .example("{ canary: 10%, bake: 5m, keep: 24h }"),
    Key::new(
        "environments.*.strategy.blue_green.canary",
        &[SHARE, MAPPING],
        "A share of the traffic for the new before the switch.",
    )
    .depends("no traffic before the switch")
    .details("The short form is the share alone; it is watched for `bake`.")
    .example("{ share: 10%, bake: 5m }"),
    Key::new("environments.*.strategy.blue_green.canary.share", &[SHARE], "The share.")
        .required()
        .example("10%"),
    Key::new(
        "environments.*.strategy.blue_green.canary.bake",
        &[DURATION],
        "How long the share is watched.",
    )
    .depends("the `bake` of `blue_green`")
    .example("5m"),
    Key::new(
        "environments.*.strategy.blue_green.bake",
        &[DURATION],
        "How long the new is watched after the switch.",
    )
    .default("10s")
    .example("5m"),
    Key::new(
        "environments.*.strategy.blue_green.keep",
        &[DURATION],
        "How long the old stays warm after the deployment.",
    )
    .default("15m")
    .details("Until then going back takes one switch and starts nothing.")
    .example("24h"),
    Key::new(
        "environments.*.strategy.canary",
        &[MAPPING],
        "Shift the traffic to the new by degrees.",
    )
    .example("{ steps: [10%, 50%, 100%], bake: 10m, keep: 1h }"),
    Key::new(
        "environments.*.strategy.canary.steps",
        &[Form::List],
        "Growing shares of the traffic, the last one `100%`.",
    )
    .default("[10%, 50%, 100%]")
    .example("[5%, { share: 50%, bake: 2m }, 100%]"),
    Key::new(
        "environments.*.strategy.canary.steps.*",
        &[SHARE, MAPPING],
        "A share, and how long it is watched.",
    )
    .details("The short form is the share alone; it is watched for `bake`.")
    .example("{ share: 50%, bake: 2m }"),
    Key::new("environments.*.strategy.canary.steps.*.share", &[SHARE], "The share.")
        .required()
        .example("50%"),
    Key::new(
        "environments.*.strategy.canary.steps.*.bake",
        &[DURATION],
        "How long this step is watched.",
    )
    .depends("the `bake` of `canary`")
    .example("2m"),
    Key::new("environments.*.strategy.canary.bake", &[DURATION], "How long each step is watched.")
        .default("10s")
        .example("10m"),
    Key::new(
        "environments.*.strategy.canary.keep",
        &[DURATION],
        "How long the old stays warm after the deployment.",
    )
    .default("15m")
    .details("Until then going back takes one switch and starts nothing.")
    .example("1h"),
    Key::new(
        "environments.*.env",
        &[Form::Named(Naming::Variable)],
        "Values for variables that components declare.",
    )
    .details("A value goes to every component that declares the variable.")
    .example("{ LOG_LEVEL: warn }"),
    Key::new("environments.*.env.*", &[VERBATIM], "The value of a variable.").example("warn"),
    Key::new(
        "environments.*.replicas",
        &[Form::Named(Naming::Name)],
        "How many instances of a component run here, by component.",
    )
    .depends("the component's own `replicas`")
    .example("{ api: 4 }"),
    Key::new(
        "environments.*.replicas.*",
        &[integer(1, 1000)],
        "How many instances of this component run here.",
    )
    .example("4"),
    Key::new("environments.*.rollback", &[MAPPING], "What goes back by itself.")
        .example("{ when: [error_rate > 5% for 2m], without_evidence: hold }"),
    Key::new(
        "environments.*.rollback.when",
        &[Form::List],
        "Guards: any of them, breached, goes back.",
    )
    .default("[health_check_failures >= 3, restarts >= 3]")
    .details(
        "The two guards of the default also hold beside a list of your own, unless it has one on \
         the same metric. Known metrics are `error_rate`, `p50`, `p95`, `p99`, \
         `health_check_failures` and `restarts`. Guards on traffic (the first four) look back over \
         `for`, `1m` when it is left out, and no watched `bake` may be shorter than that.",
    )
    .example("[error_rate > 5% for 2m, p95 > 5s, restarts >= 3]"),
    Key::new(
        "environments.*.rollback.when.*",
        &[Form::Scalar(Kind::Guard), MAPPING],
        "A guard.",
    )
    .example("error_rate > 5% for 2m"),
    Key::new(
        "environments.*.rollback.when.*.condition",
        &[Form::Scalar(Kind::Guard)],
        "The guard itself.",
    )
    .required()
    .example("error_rate > 5% for 2m"),
    Key::new(
        "environments.*.rollback.when.*.min_requests",
        &[integer(1, 1_000_000_000)],
        "Below so many requests in the time it looks back, a guard on traffic judges nothing.",
    )
    .default("50")
    .example("100"),
    Key::new(
        "environments.*.rollback.without_evidence",
        &[choice(&["hold", "proceed", "roll_back"])],
        "What happens when a bake ends with too few requests to judge.",
    )
    .default("hold")
    .details(
        "`hold` waits for more requests or for a person; `proceed` goes on and says so in the \
         journal; `roll_back` goes back.",
    )
    .example("proceed"),
];

/// The words for the strategies.
pub(crate) const STRATEGIES: [&str; 4] = ["recreate", "rolling", "blue_green", "canary"];
