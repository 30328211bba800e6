//! Manifests whose parts do not fit together, and what their users are told.

use crate::refused::told;

#[test]
fn dependencies() {
    let text = r"project: shop
components:
  api: { command: ./api, depends_on: [databse, api] }
  database: { command: ./db, depends_on: [cache] }
  cache: { command: ./cache, depends_on: [queue] }
  queue: { command: ./queue, depends_on: [database] }
  worker: { command: ./worker, depends_on: [queue, queue, nothing-like-it] }
";
    insta::assert_snapshot!(told(text), @r"
    error[unknown-component]: component `api` depends on `databse`, which is no component
     --> tidegate.yaml:3:39
      |
    3 |   api: { command: ./api, depends_on: [databse, api] }
      |                                       ^^^^^^^
      = help: did you mean `database`?

    error[dependency-cycle]: component `api` depends on itself
     --> tidegate.yaml:3:48
      |
    3 |   api: { command: ./api, depends_on: [databse, api] }
      |                                                ^^^
      = help: remove it

    error[dependency-cycle]: components depend on each other in a circle: `database` → `cache` → `queue` → `database`
     --> tidegate.yaml:4:43
      |
    4 |   database: { command: ./db, depends_on: [cache] }
      |                                           ^^^^^
      = help: they are deployed in order of their dependencies, so one of these has to go

    warning[duplicate-dependency]: `queue` is listed twice
     --> tidegate.yaml:7:52
      |
    7 |   worker: { command: ./worker, depends_on: [queue, queue, nothing-like-it] }
      |                                                    ^^^^^
      = help: remove one of the two

    error[unknown-component]: component `worker` depends on `nothing-like-it`, which is no component
     --> tidegate.yaml:7:59
      |
    7 |   worker: { command: ./worker, depends_on: [queue, queue, nothing-like-it] }
      |                                                           ^^^^^^^^^^^^^^^
      = help: known are `api`, `database`, `cache` and `queue`
    ");
}

#[test]
fn routes_that_collide() {
    let text = r"project: shop
components:
  api: { command: ./api, route: /api }
  old-api: { command: ./old-api, route: { path: /api } }
  elsewhere: { command: ./else, route: { path: /api, host: else.example.com } }
";
    insta::assert_snapshot!(told(text), @r"
    error[route-conflict]: `old-api` takes the requests for `/api` on any host, and so does `api`
     --> tidegate.yaml:4:41
      |
    4 |   old-api: { command: ./old-api, route: { path: /api } }
      |                                         ^^^^^^^^^^^^^^^
      = help: give one of them another path or host; the other is on line 3
    ");
}

#[test]
fn routes_that_are_none() {
    let text = r#"project: shop
components:
  api: { command: ./api, route: /api/ }
  other: { command: ./other, route: api }
  third: { command: ./third, route: { path: "/a b", host: "https://Shop.example.com/" } }
  fourth: { command: ./fourth, route: /fourth, port: none }
"#;
    insta::assert_snapshot!(told(text), @r#"
    error[bad-url-path]: `/api/` is not how a route is written
     --> tidegate.yaml:3:33
      |
    3 |   api: { command: ./api, route: /api/ }
      |                                 ^^^^^
      = help: write `/api`; it stands for itself and all that is below it

    error[wrong-type]: `route` of component `other`: `none` or a URL path such as `/api` or a mapping is expected, but this is `api`
     --> tidegate.yaml:4:37
      |
    4 |   other: { command: ./other, route: api }
      |                                     ^^^
      = help: write `/api`

    error[bad-url-path]: `route.path` of component `third`: `/a b` has a character that no URL path has
     --> tidegate.yaml:5:48
      |
    5 |   third: { command: ./third, route: { path: "/a b", host: "https://Shop.example.com/" } }
      |                                                ^

    error[bad-host]: `route.host` of component `third`: `https://Shop.example.com/` is not the name of a host
     --> tidegate.yaml:5:59
      |
    5 |   third: { command: ./third, route: { path: "/a b", host: "https://Shop.example.com/" } }
      |                                                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write the name alone, in lower case: `shop.example.com`

    error[port-needed]: the component listens on no port, but its `route` needs one
     --> tidegate.yaml:6:54
      |
    6 |   fourth: { command: ./fourth, route: /fourth, port: none }
      |                                                      ^^^^
      = help: write `port: auto`, or remove what needs the port
    "#);
}

#[test]
fn networks_that_are_none() {
    let text = r"project: shop
components: { web: { static: true } }
environments:
  production: { gateway: { trusted_proxies: [10.0.0.0/8, 10.0.0.1/8, balancer] } }
  staging: { gateway: { trusted_proxies: 10.0.0.1 } }
";
    insta::assert_snapshot!(told(text), @r#"
    error[bad-network]: item 2 of `gateway.trusted_proxies` of environment `production`: `10.0.0.1/8` is not a network
     --> tidegate.yaml:4:58
      |
    4 |   production: { gateway: { trusted_proxies: [10.0.0.0/8, 10.0.0.1/8, balancer] } }
      |                                                          ^^^^^^^^^^
      = help: write `10.0.0.0/8` for the whole network, or the address alone without `/`

    error[bad-network]: item 3 of `gateway.trusted_proxies` of environment `production`: `balancer` is not a network
     --> tidegate.yaml:4:70
      |
    4 |   production: { gateway: { trusted_proxies: [10.0.0.0/8, 10.0.0.1/8, balancer] } }
      |                                                                      ^^^^^^^^
      = help: write an IP address, or a network such as `10.0.0.0/8`

    error[wrong-type]: `gateway.trusted_proxies` of environment `staging` is a list, not `10.0.0.1`
     --> tidegate.yaml:5:42
      |
    5 |   staging: { gateway: { trusted_proxies: 10.0.0.1 } }
      |                                          ^^^^^^^^
      = help: for example `trusted_proxies: [10.0.0.0/8, 127.0.0.1]`
    "#);
}

#[test]
fn visitors_that_nobody_could_know() {
    let text = r"project: shop
components:
  api: { command: ./api, route: { path: /api, sticky: { header: Cookie } } }
  other: { command: ./other, route: { path: /other, sticky: { header: 'X User:' } } }
  third: { command: ./third, route: { path: /third, sticky: cookies, mirror: 101% } }
  web: { static: true, route: { mirror: 5%, sticky: {} } }
";
    insta::assert_snapshot!(told(text), @r#"
    error[bad-header]: `route.sticky.header` of component `api`: `Cookie` does not say who a visitor is
     --> tidegate.yaml:3:65
      |
    3 |   api: { command: ./api, route: { path: /api, sticky: { header: Cookie } } }
      |                                                                 ^^^^^^
      = help: write `sticky: cookie`; the proxy gives visitors a cookie of its own

    error[bad-header]: `route.sticky.header` of component `other`: `X User:` is not the name of a header
     --> tidegate.yaml:4:71
      |
    4 |   other: { command: ./other, route: { path: /other, sticky: { header: 'X User:' } } }
      |                                                                       ^^^^^^^^^^
      = help: write the name alone, without a colon, as in `X-User-Id`

    error[unknown-value]: `route.sticky` of component `third`: `none` or `cookie` is expected, but this is `cookies`
     --> tidegate.yaml:5:61
      |
    5 |   third: { command: ./third, route: { path: /third, sticky: cookies, mirror: 101% } }
      |                                                             ^^^^^^^
      = help: did you mean `cookie`?

    error[bad-share]: `route.mirror` of component `third`: `101%` is not a share of the traffic
     --> tidegate.yaml:5:78
      |
    5 |   third: { command: ./third, route: { path: /third, sticky: cookies, mirror: 101% } }
      |                                                                              ^^^^
      = help: shares are percentages from `0%` to `100%`, with at most two decimals: `0.5%`

    error[not-for-static]: `mirror` has no effect in `web`: a static site runs no process
     --> tidegate.yaml:6:33
      |
    6 |   web: { static: true, route: { mirror: 5%, sticky: {} } }
      |                                 ^^^^^^
      = help: remove `mirror`

    error[missing-key]: `header` is missing in `route.sticky` of component `web`
     --> tidegate.yaml:6:53
      |
    6 |   web: { static: true, route: { mirror: 5%, sticky: {} } }
      |                                                     ^^^
      = help: add it, for example `header: X-User-Id`
    "#);
}

#[test]
fn static_sites() {
    let text = r"project: shop
components:
  web: { static: true, replicas: 2, health: /health }
  docs: { static: { single_page: yes } }
";
    insta::assert_snapshot!(told(text), @r"
    error[static-without-route]: the static site `web` has no route, so nobody could see it
     --> tidegate.yaml:3:3
      |
    3 |   web: { static: true, replicas: 2, health: /health }
      |   ^^^
      = help: say which requests it answers, for example `route: /docs`

    error[not-for-static]: `replicas` has no effect in `web`: a static site runs no process
     --> tidegate.yaml:3:24
      |
    3 |   web: { static: true, replicas: 2, health: /health }
      |                        ^^^^^^^^
      = help: remove `replicas`

    error[not-for-static]: `health` has no effect in `web`: a static site runs no process
     --> tidegate.yaml:3:37
      |
    3 |   web: { static: true, replicas: 2, health: /health }
      |                                     ^^^^^^
      = help: remove `health`

    error[static-without-route]: the static site `docs` has no route, so nobody could see it
     --> tidegate.yaml:4:3
      |
    4 |   docs: { static: { single_page: yes } }
      |   ^^^^
      = help: say which requests it answers, for example `route: /docs`

    error[wrong-type]: `static.single_page` of component `docs`: `true` or `false` is expected, but this is `yes`
     --> tidegate.yaml:4:34
      |
    4 |   docs: { static: { single_page: yes } }
      |                                  ^^^
      = help: write `true`, without quotes
    ");
}

#[test]
fn steps() {
    let text = r"project: shop
components: { api: { command: ./api, port: auto } }
environments:
  one: { strategy: { canary: { steps: [50%, 50%, 20%, 100%] } } }
  two: { strategy: { canary: { steps: [0%, 50%] } } }
  three: { strategy: { canary: { steps: [] } } }
  four: { strategy: { rolling: { max_surge: 0 } } }
  five: { strategy: { canary: {}, rolling: {} } }
  six: { strategy: bluegreen }
  seven: { strategy: {} }
  eight: { strategy: { blue_green: { canary: 100% } } }
";
    insta::assert_snapshot!(told(text), @r"
    error[bad-steps]: steps grow, but 50% comes after 50%
     --> tidegate.yaml:4:45
      |
    4 |   one: { strategy: { canary: { steps: [50%, 50%, 20%, 100%] } } }
      |                                             ^^^
      = help: remove this step, or put the shares in order

    error[bad-steps]: steps grow, but 20% comes after 50%
     --> tidegate.yaml:4:50
      |
    4 |   one: { strategy: { canary: { steps: [50%, 50%, 20%, 100%] } } }
      |                                                  ^^^
      = help: remove this step, or put the shares in order

    error[bad-steps]: a step of 0% shows the new to nobody
     --> tidegate.yaml:5:40
      |
    5 |   two: { strategy: { canary: { steps: [0%, 50%] } } }
      |                                        ^^
      = help: start with a small share such as `1%`

    error[bad-steps]: a canary has at least one step
     --> tidegate.yaml:6:41
      |
    6 |   three: { strategy: { canary: { steps: [] } } }
      |                                         ^^^
      = help: write for example `steps: [10%, 50%, 100%]`

    error[rolling-stuck]: `max_surge` and `max_unavailable` are both 0, so no instance could be replaced
     --> tidegate.yaml:7:45
      |
    7 |   four: { strategy: { rolling: { max_surge: 0 } } }
      |                                             ^
      = help: write `max_surge: 1` to start the new before the old ends, or `max_unavailable: 1` for the other way round

    error[several-strategies]: `canary` is the strategy already: there can be only one
     --> tidegate.yaml:8:35
      |
    8 |   five: { strategy: { canary: {}, rolling: {} } }
      |                                   ^^^^^^^
      = help: remove `canary` or `rolling`

    error[unknown-value]: `strategy` of environment `six`: `recreate`, `rolling`, `blue_green` or `canary` is expected, but this is `bluegreen`
     --> tidegate.yaml:9:20
      |
    9 |   six: { strategy: bluegreen }
      |                    ^^^^^^^^^
      = help: did you mean `blue_green`?

    error[no-strategy]: no strategy is named here
      --> tidegate.yaml:10:22
       |
    10 |   seven: { strategy: {} }
       |                      ^^^
       = help: name one of `recreate`, `rolling`, `blue_green` or `canary`

    error[bad-steps]: a share of 100% is no canary
      --> tidegate.yaml:11:46
       |
    11 |   eight: { strategy: { blue_green: { canary: 100% } } }
       |                                              ^^^^
       = help: write a share between, such as `10%`, or leave `canary` out
    ");
}

#[test]
fn fixed_ports() {
    let text = r#"project: shop
components:
  db: { command: ./db, port: 5432, replicas: 2 }
  cache: { command: ./cache, port: 5432, strategy: blue_green }
  queue: { command: ./queue, port: 8080 }
environments:
  local: { listen: 8080, replicas: { queue: 2, nothing: 1 } }
  other: { listen: "localhost:8081" }
  third: { listen: 127.0.0.1:8080 }
"#;
    insta::assert_snapshot!(told(text), @r#"
    error[port-conflict]: several instances of `db` cannot all listen on port 5432
     --> tidegate.yaml:3:46
      |
    3 |   db: { command: ./db, port: 5432, replicas: 2 }
      |                                              ^
      = help: write `port: auto` and let the command take `$PORT`, or run one instance

    error[port-conflict]: `cache` insists on port 5432, and so does `db`
     --> tidegate.yaml:4:36
      |
    4 |   cache: { command: ./cache, port: 5432, strategy: blue_green }
      |                                    ^^^^
      = help: write `port: auto` and let the command take `$PORT`, or choose another number

    error[port-conflict]: this strategy runs the old and the new `cache` side by side, and both insist on port 5432
     --> tidegate.yaml:4:52
      |
    4 |   cache: { command: ./cache, port: 5432, strategy: blue_green }
      |                                                    ^^^^^^^^^^
      = help: write `port: auto` and let the command take `$PORT`, or `strategy: recreate`

    error[port-conflict]: environment `local` listens on port 8080, on which component `queue` insists
     --> tidegate.yaml:7:20
      |
    7 |   local: { listen: 8080, replicas: { queue: 2, nothing: 1 } }
      |                    ^^^^
      = help: choose another port, or leave `listen` out for a free one

    error[port-conflict]: several instances of `queue` cannot all listen on port 8080
     --> tidegate.yaml:7:45
      |
    7 |   local: { listen: 8080, replicas: { queue: 2, nothing: 1 } }
      |                                             ^
      = help: write `port: auto` and let the command take `$PORT`, or run one instance

    error[unknown-component]: `nothing` is no component
     --> tidegate.yaml:7:48
      |
    7 |   local: { listen: 8080, replicas: { queue: 2, nothing: 1 } }
      |                                                ^^^^^^^
      = help: known are `db`, `cache` and `queue`

    error[bad-address]: `listen` of environment `other`: `localhost:8081` is no address to listen on
     --> tidegate.yaml:8:20
      |
    8 |   other: { listen: "localhost:8081" }
      |                    ^^^^^^^^^^^^^^^^^
      = help: write `127.0.0.1:8081`

    error[port-conflict]: environment `third` listens on 127.0.0.1:8080, and so does `local`
     --> tidegate.yaml:9:20
      |
    9 |   third: { listen: 127.0.0.1:8080 }
      |                    ^^^^^^^^^^^^^^
      = help: choose another port, or leave `listen` out for a free one

    error[port-conflict]: environment `third` listens on port 8080, on which component `queue` insists
     --> tidegate.yaml:9:20
      |
    9 |   third: { listen: 127.0.0.1:8080 }
      |                    ^^^^^^^^^^^^^^
      = help: choose another port, or leave `listen` out for a free one
    "#);
}

#[test]
fn guards() {
    let text = r#"project: shop
components: { api: { command: ./api, port: auto } }
environments:
  production:
    strategy: { canary: { bake: 5m } }
    rollback:
      when:
        - errorrate > 5%
        - error_rate >= 5%
        - error_rate > 5
        - "p95 > 5s over 2m"
        - p95 > 5s for ever
        - restarts >= many
        - restarts >= 3 for 2m
        - health_check_failures
        - { condition: cpu > 5, min_requests: 10 }
        - { condition: restarts >= 3, min_requests: 10 }
        - { min_requests: 10 }
      without_evidence: rollback
"#;
    insta::assert_snapshot!(told(text), @r#"
    error[bad-guard]: item 1 of `rollback.when` of environment `production`: `errorrate > 5%` is not a guard
     --> tidegate.yaml:8:11
      |
    8 |         - errorrate > 5%
      |           ^^^^^^^^^ not a metric that is known
      = help: did you mean `error_rate`?

    error[bad-guard]: item 2 of `rollback.when` of environment `production`: `error_rate >= 5%` is not a guard
     --> tidegate.yaml:9:22
      |
    9 |         - error_rate >= 5%
      |                      ^^ `>` is expected here
      = help: a guard says what is bad: `error_rate > 5%`

    error[bad-guard]: item 3 of `rollback.when` of environment `production`: `error_rate > 5` is not a guard
      --> tidegate.yaml:10:24
       |
    10 |         - error_rate > 5
       |                        ^ not a percentage
       = help: write it like `error_rate > 5%`

    error[bad-guard]: item 4 of `rollback.when` of environment `production`: `p95 > 5s over 2m` is not a guard
      --> tidegate.yaml:11:21
       |
    11 |         - "p95 > 5s over 2m"
       |                     ^^^^ not expected here
       = help: after the limit only `for` and a duration may follow

    error[bad-guard]: item 5 of `rollback.when` of environment `production`: `p95 > 5s for ever` is not a guard
      --> tidegate.yaml:12:24
       |
    12 |         - p95 > 5s for ever
       |                        ^^^^ not a duration
       = help: write it like `for 30s` or `for 2m`

    error[bad-guard]: item 6 of `rollback.when` of environment `production`: `restarts >= many` is not a guard
      --> tidegate.yaml:13:23
       |
    13 |         - restarts >= many
       |                       ^^^^ not a whole number from 1
       = help: write it like `restarts >= 3`

    error[bad-guard]: item 7 of `rollback.when` of environment `production`: `restarts >= 3 for 2m` is not a guard
      --> tidegate.yaml:14:25
       |
    14 |         - restarts >= 3 for 2m
       |                         ^^^^^^ no time can be given here
       = help: `restarts` is counted, not measured over a time: remove `for …`

    error[bad-guard]: item 8 of `rollback.when` of environment `production`: `health_check_failures` is not a guard
      --> tidegate.yaml:15:31
       |
    15 |         - health_check_failures
       |                               ^ `>=` and a limit are missing
       = help: write it like `health_check_failures >= 3`

    error[bad-guard]: `condition` in item 9 of `rollback.when` of environment `production`: `cpu > 5` is not a guard
      --> tidegate.yaml:16:24
       |
    16 |         - { condition: cpu > 5, min_requests: 10 }
       |                        ^^^ not a metric that is known
       = help: known are `error_rate`, `p50`, `p95`, `p99`, `health_check_failures` and `restarts`

    error[not-for-guard]: `min_requests` has no effect on `restarts >= 3`: it is not about requests
      --> tidegate.yaml:17:39
       |
    17 |         - { condition: restarts >= 3, min_requests: 10 }
       |                                       ^^^^^^^^^^^^
       = help: remove `min_requests`

    error[missing-key]: `condition` is missing in item 11 of `rollback.when` of environment `production`
      --> tidegate.yaml:18:13
       |
    18 |         - { min_requests: 10 }
       |             ^^^^^^^^^^^^
       = help: add it, for example `condition: error_rate > 5% for 2m`

    error[unknown-value]: `rollback.without_evidence` of environment `production`: `hold`, `proceed` or `roll_back` is expected, but this is `rollback`
      --> tidegate.yaml:19:25
       |
    19 |       without_evidence: rollback
       |                         ^^^^^^^^
       = help: did you mean `roll_back`?
    "#);
}

#[test]
fn guards_that_look_back_too_far() {
    let text = r"project: shop
components:
  api: { command: ./api, route: /api }
  db: { command: ./db, port: 5432, route: /db }
environments:
  staging:
    rollback: { when: [error_rate > 5%] }
  production:
    strategy: { canary: { steps: [10%, { share: 50%, bake: 20s }, 100%], bake: 1m } }
    rollback: { when: [error_rate > 5% for 2m, p95 > 1s] }
  third:
    strategy: { blue_green: { bake: 0s } }
    rollback: { when: [error_rate > 5% for 10s] }
";
    insta::assert_snapshot!(told(text), @r"
    error[guard-outlasts-bake]: `error_rate > 5%` looks back over 1m, but the time after the switch in `staging` is watched for only 10s (the default)
     --> tidegate.yaml:7:24
      |
    7 |     rollback: { when: [error_rate > 5%] }
      |                        ^^^^^^^^^^^^^^^
      = help: watch longer: `strategy: { blue_green: { bake: 1m } }` in `staging`; or let the guard look back less: `error_rate > 5% for 10s`

    error[guard-outlasts-bake]: `error_rate > 5%` looks back over 1m, but the time after the start of `db` in `staging` is watched for only 10s (the default)
     --> tidegate.yaml:7:24
      |
    7 |     rollback: { when: [error_rate > 5%] }
      |                        ^^^^^^^^^^^^^^^
      = help: watch longer: `strategy: { recreate: { bake: 1m } }` in component `db`; or let the guard look back less: `error_rate > 5% for 10s`

    error[guard-outlasts-bake]: `error_rate > 5% for 2m` looks back over 2m, but step 2 in `production` is watched for only 20s
     --> tidegate.yaml:9:60
      |
    9 |     strategy: { canary: { steps: [10%, { share: 50%, bake: 20s }, 100%], bake: 1m } }
      |                                                            ^^^
      = help: write 2m or more here; or let the guard look back less: `error_rate > 5% for 20s`

    error[guard-outlasts-bake]: `error_rate > 5% for 2m` looks back over 2m, but step 1 in `production` is watched for only 1m
     --> tidegate.yaml:9:80
      |
    9 |     strategy: { canary: { steps: [10%, { share: 50%, bake: 20s }, 100%], bake: 1m } }
      |                                                                                ^^
      = help: write 2m or more here; or let the guard look back less: `error_rate > 5% for 1m`

    error[guard-outlasts-bake]: `error_rate > 5% for 2m` looks back over 2m, but the time after the start of `db` in `production` is watched for only 10s (the default)
      --> tidegate.yaml:10:24
       |
    10 |     rollback: { when: [error_rate > 5% for 2m, p95 > 1s] }
       |                        ^^^^^^^^^^^^^^^^^^^^^^
       = help: watch longer: `strategy: { recreate: { bake: 2m } }` in component `db`; or let the guard look back less: `error_rate > 5% for 10s`

    error[guard-outlasts-bake]: the guard `error_rate > 5% for 10s` would never judge a deployment: every `bake` in `third` is 0s
      --> tidegate.yaml:13:24
       |
    13 |     rollback: { when: [error_rate > 5% for 10s] }
       |                        ^^^^^^^^^^^^^^^^^^^^^^^
       = help: write `bake: 10s` or longer in the strategy
    ");
}

#[test]
fn guards_without_traffic() {
    let text = r"project: shop
components: { worker: { command: ./worker } }
environments:
  production: { rollback: { when: [error_rate > 5% for 10s] } }
";
    insta::assert_snapshot!(told(text), @r"
    error[guard-without-traffic]: the guard `error_rate > 5% for 10s` judges requests, and no component has a route
     --> tidegate.yaml:4:36
      |
    4 |   production: { rollback: { when: [error_rate > 5% for 10s] } }
      |                                    ^^^^^^^^^^^^^^^^^^^^^^^
      = help: give the component that answers requests a `route`, or remove the guard
    ");
}

#[test]
fn variables() {
    let text = r#"project: shop
components:
  api:
    command: ./api
    port: auto
    env:
      LOG_LEVEL: { type: "enum(debug, info)", default: inf }
      WORKERS: { type: int }
      TIMEOUT: { type: duration, required: true }
      API_KEY: { required: true }
      EMPTY:
      PORT: 80
      2ND: second
      TIDEGATE_HOME: /tmp
environments:
  staging: { env: { LOG_LEVLE: debug, TIMEOUT: 5 } }
  production: { env: { TIMEOUT: 5s, UNHEARD: of, LOG_LEVEL: warn } }
"#;
    insta::assert_snapshot!(told(text), @r#"
    error[wrong-variable-type]: the default of `LOG_LEVEL` is not `debug` or `info`
     --> tidegate.yaml:7:56
      |
    7 |       LOG_LEVEL: { type: "enum(debug, info)", default: inf }
      |                                                        ^^^
      = help: change the default or the `type`

    error[unknown-value]: `env.WORKERS.type` of component `api`: `int` is not the type of a variable
     --> tidegate.yaml:8:24
      |
    8 |       WORKERS: { type: int }
      |                        ^^^
      = help: did you mean `integer`?

    error[missing-variable]: `API_KEY` of component `api` is required and has no value in environments `staging` and `production`
      --> tidegate.yaml:10:7
       |
    10 |       API_KEY: { required: true }
       |       ^^^^^^^
       = help: give it one there (`environments.staging.env.API_KEY`), or a `default` here

    error[missing-value]: `env.EMPTY` of component `api` has no value
      --> tidegate.yaml:11:7
       |
    11 |       EMPTY:
       |       ^^^^^
       = help: write "" for a text without characters

    error[reserved-name]: `PORT` is set by Tidegate in a component that listens
      --> tidegate.yaml:12:7
       |
    12 |       PORT: 80
       |       ^^^^
       = help: for a port of your own choice write it as the component's `port`

    error[bad-name]: `2ND` is not the name of a variable
      --> tidegate.yaml:13:7
       |
    13 |       2ND: second
       |       ^^^
       = help: use letters, digits and `_`, not starting with a digit, as in `LOG_LEVEL`

    error[reserved-name]: `TIDEGATE_HOME` is kept for Tidegate itself
      --> tidegate.yaml:14:7
       |
    14 |       TIDEGATE_HOME: /tmp
       |       ^^^^^^^^^^^^^
       = help: choose a name that does not start with `TIDEGATE_`

    error[undeclared-variable]: no component declares the variable `LOG_LEVLE`
      --> tidegate.yaml:16:21
       |
    16 |   staging: { env: { LOG_LEVLE: debug, TIMEOUT: 5 } }
       |                     ^^^^^^^^^
       = help: did you mean `LOG_LEVEL`?

    error[wrong-variable-type]: the value of `TIMEOUT` is not a duration such as `30s`
      --> tidegate.yaml:16:48
       |
    16 |   staging: { env: { LOG_LEVLE: debug, TIMEOUT: 5 } }
       |                                                ^
       = help: component `api` declares it so: change the value here or the `type` there

    error[undeclared-variable]: no component declares the variable `UNHEARD`
      --> tidegate.yaml:17:37
       |
    17 |   production: { env: { TIMEOUT: 5s, UNHEARD: of, LOG_LEVEL: warn } }
       |                                     ^^^^^^^
       = help: declare it in the `env` of the component that reads it, as in `UNHEARD: { required: true }`

    error[wrong-variable-type]: the value of `LOG_LEVEL` is not `debug` or `info`
      --> tidegate.yaml:17:61
       |
    17 |   production: { env: { TIMEOUT: 5s, UNHEARD: of, LOG_LEVEL: warn } }
       |                                                             ^^^^
       = help: component `api` declares it so: change the value here or the `type` there
    "#);
}

#[test]
fn paths_that_leave() {
    let text = r"project: shop
components:
  api:
    path: ../api
    build: { run: make, output: /tmp/api, directory: 'a\b' }
    command: ./api
    port: auto
";
    insta::assert_snapshot!(told(text), @r"
    error[bad-path]: `path` of component `api`: `../api` leaves the repository
     --> tidegate.yaml:4:11
      |
    4 |     path: ../api
      |           ^^^^^^
      = help: a release is made from one commit of this repository and nothing else: remove `..`

    error[bad-path]: `build.output` of component `api`: `/tmp/api` is not a path inside the repository
     --> tidegate.yaml:5:33
      |
    5 |     build: { run: make, output: /tmp/api, directory: 'a\b' }
      |                                 ^^^^^^^^
      = help: write it relative to the folder of the repository, as in `apps/api`

    error[bad-path]: `build.directory` of component `api`: `a\b` is not a path inside the repository
     --> tidegate.yaml:5:54
      |
    5 |     build: { run: make, output: /tmp/api, directory: 'a\b' }
      |                                                      ^^^^^^
      = help: write it with `/`: `a/b`
    ");
}

#[test]
fn certificates() {
    let text = r"project: shop
components: { api: { command: a } }
environments:
  one: { tls: { certificates: [{ certificate: shop.pem, key: ~/shop.key }] } }
  two: { tls: { certificates: [] } }
  three: { tls: {} }
  four: { tls: { acme: { hosts: [], agree_to_terms: false, directory: ca.example.com } } }
  five: { tls: { acme: { hosts: ['*.example.com'] } } }
  six: { listen: 8080, tls: { redirect_from: 127.0.0.1:8080 } }
";
    insta::assert_snapshot!(told(text), @r"
    error[bad-path]: `certificate` in item 1 of `tls.certificates` of environment `one`: `shop.pem` is not an absolute path
     --> tidegate.yaml:4:47
      |
    4 |   one: { tls: { certificates: [{ certificate: shop.pem, key: ~/shop.key }] } }
      |                                               ^^^^^^^^
      = help: write where it is on the machine that serves, as in `/etc/ssl/shop.pem`

    error[bad-path]: `key` in item 1 of `tls.certificates` of environment `one`: `~/shop.key` is not an absolute path
     --> tidegate.yaml:4:62
      |
    4 |   one: { tls: { certificates: [{ certificate: shop.pem, key: ~/shop.key }] } }
      |                                                              ^^^^^^^^^^
      = help: write where it is on the machine that serves, as in `/etc/ssl/shop.pem`

    error[empty-list]: `tls.certificates` of environment `two` names no certificate
     --> tidegate.yaml:5:31
      |
    5 |   two: { tls: { certificates: [] } }
      |                               ^^^
      = help: name a certificate and its key, or remove `certificates`

    error[missing-key]: `tls` of environment `three` does not say where certificates come from
     --> tidegate.yaml:6:17
      |
    6 |   three: { tls: {} }
      |                 ^^^
      = help: add `certificates` for files of your own, or `acme` to have them ordered

    error[empty-list]: `tls.acme.hosts` of environment `four` is empty
     --> tidegate.yaml:7:33
      |
    7 |   four: { tls: { acme: { hosts: [], agree_to_terms: false, directory: ca.example.com } } }
      |                                 ^^
      = help: name the hosts that lead here

    error[not-agreed]: `tls.acme` of environment `four` does not agree to the authority's terms
     --> tidegate.yaml:7:53
      |
    7 |   four: { tls: { acme: { hosts: [], agree_to_terms: false, directory: ca.example.com } } }
      |                                                     ^^^^^
      = help: no authority issues a certificate without: read its terms and write `agree_to_terms: true`, or name certificates of your own in files

    error[bad-url]: `ca.example.com` is not an https:// address
     --> tidegate.yaml:7:71
      |
    7 |   four: { tls: { acme: { hosts: [], agree_to_terms: false, directory: ca.example.com } } }
      |                                                                       ^^^^^^^^^^^^^^
      = help: write the address of the authority's directory, or leave it out

    error[missing-key]: `agree_to_terms` is missing in `tls.acme` of environment `five`
     --> tidegate.yaml:8:26
      |
    8 |   five: { tls: { acme: { hosts: ['*.example.com'] } } }
      |                          ^^^^^
      = help: add it, for example `agree_to_terms: true`

    error[bad-host]: item 1 of `tls.acme.hosts` of environment `five`: `*.example.com` is not the name of a host
     --> tidegate.yaml:8:34
      |
    8 |   five: { tls: { acme: { hosts: ['*.example.com'] } } }
      |                                  ^^^^^^^^^^^^^^^
      = help: this version has no wildcards: name each host; a route without `host` takes any

    error[missing-key]: `tls` of environment `six` does not say where certificates come from
     --> tidegate.yaml:9:29
      |
    9 |   six: { listen: 8080, tls: { redirect_from: 127.0.0.1:8080 } }
      |                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add `certificates` for files of your own, or `acme` to have them ordered

    error[port-conflict]: environment `six` listens on 127.0.0.1:8080 twice
     --> tidegate.yaml:9:46
      |
    9 |   six: { listen: 8080, tls: { redirect_from: 127.0.0.1:8080 } }
      |                                              ^^^^^^^^^^^^^^
      = help: choose another port, or leave `listen` out for a free one
    ");
}

#[test]
fn health() {
    let text = r"project: shop
components:
  api:
    command: ./api
    route: /
    health: { path: /health, tcp: true, start_period: 2m }
  worker:
    command: ./worker
    port: none
    health: /health
";
    insta::assert_snapshot!(told(text), @r"
    error[several-checks]: health is told by `path` already
     --> tidegate.yaml:6:30
      |
    6 |     health: { path: /health, tcp: true, start_period: 2m }
      |                              ^^^
      = help: remove `path` or `tcp`; a second URL path for traffic alone is `ready`

    error[deadline-too-short]: the `deadline` is 1m, and `start_period` alone takes 2m: no instance could be ready in time
     --> tidegate.yaml:6:55
      |
    6 |     health: { path: /health, tcp: true, start_period: 2m }
      |                                                       ^^
      = help: write a `deadline` well above 2m

    error[port-needed]: the component listens on no port, but its health check asks one
     --> tidegate.yaml:9:11
      |
    9 |     port: none
      |           ^^^^
      = help: write `port: auto`, or remove what needs the port
    ");
}
