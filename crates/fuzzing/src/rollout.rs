//! Deployments in a world in which everything works at once.

use tidegate_core::{Environment, Input, Outcome, Seen, step};
use tidegate_types::{
    DeploymentKind, Duration, GuardReading, Observation, Plan, RevisionFacts, RouteFacts,
    Timestamp, Verdict,
};

/// No plan needs more looks than this in a world that fulfils every wish at once.
const MOST_LOOKS: usize = 10_000;

/// Takes the plans one after the other to their end. Each must succeed.
pub(crate) fn succeeds(plans: &[&Plan]) {
    let Some(first) = plans.first() else { return };
    let mut environment = Environment::new(first.scope.clone());
    let mut now = Timestamp::from_millis(1_000_000);
    for plan in plans {
        let request = Input::Request {
            deployment: plan.deployment,
            kind: DeploymentKind::Deploy,
            actor: "ana".to_owned(),
        };
        let mut wake_at = None;
        let inputs = [request, Input::Prepared((*plan).clone())];
        for input in inputs.into_iter().chain(std::iter::repeat_n(Input::Look, MOST_LOOKS)) {
            let decision = step(&environment, &input, &everything_works(&environment), now);
            let decision = decision.expect("nothing speaks against it");
            environment = decision.environment;
            shares_add_up(&environment);
            if environment.deployment.is_none() {
                break;
            }
            now = now.after(Duration::from_secs(1));
            now = decision.wake_at.unwrap_or(now).max(now);
            wake_at = decision.wake_at;
        }
        assert!(environment.deployment.is_none(), "never ends, waits until {wake_at:?}: {plan:?}");
        let outcome = environment.latest.as_ref().map(|latest| latest.outcome);
        assert_eq!(outcome, Some(Outcome::Succeeded), "{:?}", environment.latest);
    }
}

/// Whatever is wanted is there, and every guard is content.
fn everything_works(environment: &Environment) -> Seen {
    let wanted = environment.wanted();
    let facts = wanted.into_iter().map(|wanted| {
        let facts = RevisionFacts {
            // A static site is ready when its files are there.
            ready: wanted.replicas.max(1),
            running: wanted.replicas,
            ..RevisionFacts::default()
        };
        (wanted.id, facts)
    });
    let begun = environment.deployment.as_ref().map(tidegate_core::Deployment::begun);
    let readings = begun.unwrap_or_default().iter().map(|rollout| {
        let reading = |text: &String| GuardReading {
            guard: text.clone(),
            verdict: Verdict::Pass,
            evidence: String::new(),
        };
        rollout.guards.iter().map(|guard| reading(&guard.text)).collect()
    });
    Seen {
        observation: Observation {
            generation: Some(environment.generation),
            revisions: facts.collect(),
            routes: RouteFacts { epoch: Some(environment.epoch), address: None, refused: None },
        },
        readings: readings.collect(),
        fresh: true,
    }
}

/// Who is routed to at all gets all of the traffic, divided without a rest.
pub(crate) fn shares_add_up(environment: &Environment) {
    for route in environment.route_table().routes {
        let sum: u32 = route.backends.iter().map(|backend| backend.share.hundredths()).sum();
        assert!(route.backends.is_empty() || sum == 10_000, "{route:?}");
    }
}
