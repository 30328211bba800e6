//! What the data plane is told: tables, numbers, listeners.

use tidegate_core::{Command, Input, Outcome, Seen, step};
use tidegate_types::{DeploymentKind, Epoch, Listen, Maintenance, Share, Timestamp};

use crate::{
    going_back::{never_ready, release, service},
    shop::Shipment,
    stories::{api, canary, revision, with_first},
    world::{Part, World},
};

#[test]
fn the_table_says_of_each_revision_whether_it_is_the_candidate_of_its_component() {
    let parts = || [api(canary()), Part { name: "web", ..api(canary()) }];
    let mut world = with_first(&parts());
    world.deploy(2, &parts()).unwrap();
    world.until("a tenth for the second component", |world| {
        world.share("web", 2) == Share::percent(10)
    });
    let roles: Vec<(String, String)> = world
        .environment
        .route_table()
        .routes
        .iter()
        .flat_map(|route| &route.backends)
        .map(|backend| (backend.revision.to_string(), backend.role.clone()))
        .collect();
    let expected =
        [("api@1", "stable"), ("api@2", "candidate"), ("web@1", "stable"), ("web@2", "candidate")];
    assert_eq!(roles, expected.map(|(revision, role)| (revision.to_owned(), role.to_owned())));
    assert_eq!(world.settle(), Outcome::Succeeded);
    let table = world.environment.route_table();
    let mut backends = table.routes.iter().flat_map(|route| &route.backends);
    assert!(backends.all(|backend| backend.role == "stable"), "nothing is under way");
}

fn at(port: u16) -> Listen {
    Listen::Address(([127, 0, 0, 1], port).into())
}

#[test]
fn the_listener_moves_with_a_deployment_and_back_with_its_end() {
    let mut world = World::new();
    world.ship(1, DeploymentKind::Deploy, &release(1, vec![service(2, 1)])).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    assert_eq!(world.environment.route_table().gateway.listen, at(8080));

    // One more instance and another address: no share changes.
    never_ready(&mut world, revision("api", 1));
    let moved = || Shipment { port: 9090, ..release(2, vec![service(3, 1)]) };
    world.ship(2, DeploymentKind::Deploy, &moved()).unwrap();
    assert_eq!(world.environment.route_table().gateway.listen, at(9090));
    world.tick();
    world.tick();
    let epoch = world.environment.epoch;
    world.behaviours.clear();
    world.command(Command::Abort).unwrap();
    assert_eq!(world.environment.route_table().gateway.listen, at(8080));
    assert_eq!(world.environment.epoch, epoch.next());
    assert!(world.going_back(), "the address is in force only when the proxy says so");
    assert_eq!(world.settle(), Outcome::Failed);

    world.ship(3, DeploymentKind::Deploy, &moved()).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    assert_eq!(world.environment.route_table().gateway.listen, at(9090));
}

#[test]
fn maintenance_is_in_the_table_until_a_person_ends_it() {
    let said = |message: Option<&str>| Maintenance { message: message.map(str::to_owned) };
    let maintain = |maintenance| Input::Maintain { maintenance, actor: "bo".into() };
    let mut world = World::new();
    // Before there is any table.
    world.feed(&maintain(Some(said(None)))).unwrap();
    assert_eq!(world.environment.epoch.0, 0);
    world.ship(1, DeploymentKind::Deploy, &release(1, vec![service(2, 1)])).unwrap();
    assert_eq!(world.settle(), Outcome::Succeeded);
    let in_table = |world: &World| world.environment.route_table().gateway.maintenance;
    assert_eq!(in_table(&world), Some(said(None)));
    // Other words, in the middle of a deployment that goes back.
    never_ready(&mut world, revision("api", 1));
    world.ship(2, DeploymentKind::Deploy, &release(2, vec![service(3, 1)])).unwrap();
    world.tick();
    let epoch = world.environment.epoch;
    for _ in 0..2 {
        world.feed(&maintain(Some(said(Some("back at noon"))))).unwrap();
        assert_eq!(world.environment.epoch, epoch.next());
    }
    world.behaviours.clear();
    world.command(Command::Abort).unwrap();
    assert_ne!(world.settle(), Outcome::Succeeded);
    assert_eq!(in_table(&world), Some(said(Some("back at noon"))));
    let epoch = world.environment.epoch;
    for _ in 0..2 {
        world.feed(&maintain(None)).unwrap();
        assert_eq!((in_table(&world), world.environment.epoch), (None, epoch.next()));
    }
}

#[test]
fn a_table_of_which_nothing_is_known_here_is_left_alone() {
    let world = World::new();
    let mut seen = Seen { fresh: true, ..Seen::default() };
    seen.observation.routes.epoch = Some(Epoch(7));
    let now = Timestamp::from_millis(2_000_000);
    let decision = step(&world.environment, &Input::Look, &seen, now).unwrap();
    assert_eq!((decision.environment, decision.events), (world.environment, vec![]));
}
