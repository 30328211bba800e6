//! What to do next for one revision: a pure function of what is wanted and what is there.

use tidegate_types::{Duration, Timestamp};

/// All that the decision depends on.
#[derive(Debug, Clone)]
pub(crate) struct RevisionView {
    /// How many instances; none while nobody has said so since the control plane started.
    pub(crate) wanted: Option<u32>,
    /// All instances would listen on the same port, so that there is room for one only.
    pub(crate) fixed_port: bool,
    /// Requests in flight get this long to end.
    pub(crate) drain: Duration,
    /// An instance that is not ready this long after its start has failed.
    pub(crate) deadline: Duration,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// No start before this.
    pub(crate) not_before: Option<Timestamp>,
    /// The instances that run, by number.
    pub(crate) instances: Vec<InstanceView>,
}

/// One instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceView {
    pub(crate) number: u32,
    pub(crate) started: Timestamp,
    pub(crate) health: Health,
    /// Its readiness was asked for at least once since the control plane started.
    pub(crate) checked: bool,
    /// It is not alive any more by its own checks, though its process runs.
    pub(crate) broken: bool,
    /// It leaves, since then.
    pub(crate) retiring: Option<Timestamp>,
    /// Certainly no new request comes to it.
    pub(crate) left: bool,
    /// Requests that it still answers; none when unknown.
    pub(crate) in_flight: Option<u64>,
}

/// What the checks of an instance say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// Was never ready.
    Starting,
    /// Was ready and is not.
    Unready,
    /// Fit for traffic.
    Ready,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start one more instance.
    Start,
    /// Let it leave, because there are too many.
    Retire(u32),
    /// Let it leave, because it was not ready in time.
    GiveUp(u32),
    /// Let it leave, because it is broken.
    Replace(u32),
    /// Tell it to stop; it answers no request.
    Stop(u32),
}

/// What to do, and when to decide again at the latest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) actions: Vec<Action>,
    pub(crate) again: Option<Timestamp>,
}

impl Decision {
    fn again(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

/// Decides for one revision. Deciding again after its actions were done gives nothing more to do
/// until something changes.
pub(crate) fn decide(view: &RevisionView, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let mut active: Vec<&InstanceView> = Vec::new();
    for instance in &view.instances {
        match instance.retiring {
            Some(since) => stop(view, instance, since, now, &mut decision),
            None if late(view, instance, now, &mut decision) => {
                decision.actions.push(Action::GiveUp(instance.number));
            }
            None => active.push(instance),
        }
    }
    if let Some(wanted) = view.wanted {
        size(view, wanted as usize, &active, now, &mut decision);
    }
    let fails = |action: &Action| matches!(action, Action::GiveUp(_) | Action::Replace(_));
    if decision.actions.iter().any(fails) {
        // A failure that is about to be counted delays the next start.
        decision.actions.retain(|action| *action != Action::Start);
    }
    decision
}

/// Whether the deadline of an instance that was never ready is over.
fn late(
    view: &RevisionView,
    instance: &InstanceView,
    now: Timestamp,
    decision: &mut Decision,
) -> bool {
    // One that became ready while no control plane looked is asked first.
    if instance.health != Health::Starting || !instance.checked {
        return false;
    }
    let deadline = instance.started.after(view.deadline);
    if now < deadline {
        decision.again(deadline);
    }
    now >= deadline
}

fn stop(
    view: &RevisionView,
    instance: &InstanceView,
    since: Timestamp,
    now: Timestamp,
    decision: &mut Decision,
) {
    let over = since.after(view.drain);
    if instance.left && (instance.in_flight == Some(0) || now >= over) {
        decision.actions.push(Action::Stop(instance.number));
    } else if now < over {
        decision.again(over);
    }
}

fn size(
    view: &RevisionView,
    wanted: usize,
    active: &[&InstanceView],
    now: Timestamp,
    decision: &mut Decision,
) {
    let starting = active.iter().any(|instance| instance.health == Health::Starting);
    let broken: Vec<_> = active.iter().filter(|instance| instance.broken).collect();
    // One at a time: the next is replaced when the former one's successor is ready.
    let replace = if wanted == 0 || starting { None } else { broken.first() };
    // A broken instance that is the only one stays until its successor is ready.
    if wanted == 1 && !broken.is_empty() && !view.fixed_port {
        let (broken, sound): (Vec<&InstanceView>, Vec<&InstanceView>) =
            active.iter().copied().partition(|instance| instance.broken);
        if sound.iter().any(|instance| instance.health == Health::Ready) {
            for instance in broken {
                decision.actions.push(Action::Replace(instance.number));
            }
        } else if sound.is_empty() {
            for instance in &broken[1..] {
                decision.actions.push(Action::Replace(instance.number));
            }
            start(view, 1, starting, now, decision);
        }
        return;
    }
    if active.len() > wanted {
        let mut leaving: Vec<_> = active.to_vec();
        // The least useful first; among equals the newest.
        leaving.sort_by_key(|instance| {
            (!instance.broken, instance.health, std::cmp::Reverse(instance.number))
        });
        for instance in leaving.iter().take(active.len() - wanted) {
            decision.actions.push(Action::Retire(instance.number));
        }
    } else if active.len() < wanted {
        start(view, wanted - active.len(), starting, now, decision);
    } else if let Some(instance) = replace {
        decision.actions.push(Action::Replace(instance.number));
    }
}

fn start(
    view: &RevisionView,
    missing: usize,
    starting: bool,
    now: Timestamp,
    decision: &mut Decision,
) {
    if view.fixed_port && !view.instances.is_empty() {
        return;
    }
    if let Some(not_before) = view.not_before
        && now < not_before
    {
        decision.again(not_before);
        return;
    }
    let room = match (view.fixed_port, view.failures) {
        (false, 0) => missing,
        // After failures one at a time, to see whether it lives.
        (false, _) if starting => 0,
        _ => 1,
    };
    for _ in 0..room.min(missing) {
        decision.actions.push(Action::Start);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn instance(number: u32, health: Health) -> InstanceView {
        InstanceView {
            number,
            started: at(0),
            health,
            checked: true,
            broken: false,
            retiring: None,
            left: false,
            in_flight: None,
        }
    }

    fn broken(number: u32) -> InstanceView {
        InstanceView { broken: true, ..instance(number, Unready) }
    }

    fn retiring(number: u32, left: bool, in_flight: Option<u64>) -> InstanceView {
        InstanceView { retiring: Some(at(0)), left, in_flight, ..instance(number, Ready) }
    }

    fn view(wanted: u32, instances: Vec<InstanceView>) -> RevisionView {
        RevisionView {
            wanted: Some(wanted),
            fixed_port: false,
            drain: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            failures: 0,
            not_before: None,
            instances,
        }
    }

    fn actions(view: &RevisionView, now: i64) -> Vec<Action> {
        decide(view, at(now)).actions
    }

    use Action::{GiveUp, Replace, Retire, Start, Stop};
    use Health::{Ready, Starting, Unready};

    #[test]
    fn what_is_missing_is_started_and_what_is_too_much_retired() {
        assert_eq!(actions(&view(2, vec![]), 0), [Start, Start]);
        let three = || vec![instance(1, Ready), instance(2, Ready), instance(3, Ready)];
        assert_eq!(actions(&view(3, three()), 0), []);
        assert_eq!(actions(&view(1, three()), 0), [Retire(3), Retire(2)]);
        assert_eq!(actions(&view(0, three()), 0), [Retire(3), Retire(2), Retire(1)]);
    }

    #[test]
    fn the_least_useful_leave_first() {
        let instances = vec![
            instance(1, Unready),
            instance(2, Ready),
            broken(3),
            instance(4, Starting),
            instance(5, Ready),
        ];
        assert_eq!(actions(&view(2, instances), 0), [Retire(3), Retire(4), Retire(1)]);
    }

    #[test]
    fn nothing_is_started_or_retired_before_somebody_said_what_is_wanted() {
        let instances = vec![instance(1, Ready), retiring(2, true, Some(0))];
        let view = RevisionView { wanted: None, ..view(0, instances) };
        assert_eq!(actions(&view, 0), [Stop(2)]);
    }

    #[test]
    fn after_failures_one_at_a_time_and_not_too_soon() {
        let mut failing = view(3, vec![instance(1, Ready)]);
        failing.failures = 1;
        failing.not_before = Some(at(100));
        let waits = decide(&failing, at(99));
        assert_eq!((waits.actions.len(), waits.again), (0, Some(at(100))));
        assert_eq!(actions(&failing, 100), [Start]);
        failing.instances.push(instance(2, Starting));
        assert_eq!(actions(&failing, 100), []);
        failing.instances[1].health = Ready;
        assert_eq!(actions(&failing, 100), [Start]);
    }

    #[test]
    fn a_fixed_port_has_room_for_one() {
        let fixed = |instances| RevisionView { fixed_port: true, ..view(1, instances) };
        assert_eq!(actions(&fixed(vec![]), 0), [Start]);
        assert_eq!(actions(&fixed(vec![retiring(1, false, None)]), 0), []);
        assert_eq!(actions(&fixed(vec![broken(1)]), 0), [Replace(1)]);
    }

    #[test]
    fn the_deadline_ends_what_was_never_ready() {
        let mut waiting = view(1, vec![instance(1, Starting)]);
        let before = decide(&waiting, at(59_999));
        assert_eq!((before.actions.len(), before.again), (0, Some(at(60_000))));
        assert_eq!(actions(&waiting, 60_000), [GiveUp(1)]);
        // It may have become ready while nobody looked.
        waiting.instances[0].checked = false;
        assert_eq!(actions(&waiting, 60_000), []);
        waiting.instances[0].health = Unready;
        assert_eq!(actions(&waiting, 60_000), []);
    }

    #[test]
    fn a_retiring_instance_is_stopped_when_it_has_left_and_answers_nothing() {
        for (left, in_flight, now, stopped) in [
            (false, Some(0), 0, false),
            (false, Some(0), 30_000, false),
            (true, Some(1), 29_999, false),
            (true, None, 29_999, false),
            (true, Some(0), 0, true),
            (true, Some(1), 30_000, true),
            (true, None, 30_000, true),
        ] {
            let found = actions(&view(0, vec![retiring(1, left, in_flight)]), now);
            let expected: &[Action] = if stopped { &[Stop(1)] } else { &[] };
            assert_eq!(found, expected, "{left} {in_flight:?} {now}");
        }
    }

    #[test]
    fn broken_instances_are_replaced_one_at_a_time() {
        let mut two = view(2, vec![broken(1), broken(2)]);
        assert_eq!(actions(&two, 0), [Replace(1)]);
        two.instances[0].retiring = Some(at(0));
        assert_eq!(actions(&two, 0), [Start]);
        two.instances.push(instance(3, Starting));
        assert_eq!(actions(&two, 0), []);
        two.instances[2].health = Ready;
        assert_eq!(actions(&two, 0), [Replace(2)]);
    }

    #[test]
    fn the_only_instance_stays_until_its_successor_is_ready() {
        let mut one = view(1, vec![broken(1)]);
        assert_eq!(actions(&one, 0), [Start]);
        one.instances.push(instance(2, Starting));
        assert_eq!(actions(&one, 0), []);
        one.instances[1].health = Ready;
        assert_eq!(actions(&one, 0), [Replace(1)]);
        // It recovered meanwhile: the newer one was not needed.
        one.instances[0] = instance(1, Ready);
        assert_eq!(actions(&one, 0), [Retire(2)]);
        // Its successor broke too.
        let both = view(1, vec![broken(1), broken(2)]);
        assert_eq!(actions(&both, 0), [Replace(2)]);
    }

    fn any_instance(number: u32) -> impl Strategy<Value = InstanceView> {
        (
            prop_oneof![Just(Starting), Just(Unready), Just(Ready)],
            0_i64..100_000,
            any::<[bool; 4]>(),
            proptest::option::of(0_u64..3),
        )
            .prop_map(move |(health, started, flags, in_flight)| InstanceView {
                number,
                started: at(started),
                health,
                checked: flags[0],
                broken: flags[1],
                retiring: flags[2].then(|| at(started)),
                left: flags[3],
                in_flight,
            })
    }

    prop_compose! {
        fn any_view()(
            instances in (0..6_u32).prop_flat_map(|count| (1..=count).map(any_instance).collect::<Vec<_>>()),
            wanted in proptest::option::of(0_u32..5),
            fixed_port in any::<bool>(),
            failures in 0_u32..3,
            not_before in proptest::option::of(0_i64..100_000),
        ) -> RevisionView {
            RevisionView {
                wanted,
                fixed_port,
                failures,
                not_before: not_before.map(at),
                instances,
                ..view(0, vec![])
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_there(view in any_view(), now in 0_i64..200_000) {
            let found = actions(&view, now);
            let is = |number: u32| view.instances.iter().find(|one| one.number == number).unwrap();
            let starts = found.iter().filter(|action| **action == Start).count();
            let mut named = Vec::new();
            for action in &found {
                match *action {
                    Start => {}
                    Stop(number) => {
                        named.push(number);
                        // Never one that may still be asked, nor one that nobody let go.
                        prop_assert!(is(number).left && is(number).retiring.is_some());
                    }
                    Retire(number) | GiveUp(number) | Replace(number) => {
                        named.push(number);
                        prop_assert!(is(number).retiring.is_none());
                    }
                }
            }
            let all = named.len();
            named.sort_unstable();
            named.dedup();
            prop_assert_eq!(all, named.len(), "one action for each instance");
            if starts > 0 {
                prop_assert!(view.not_before.is_none_or(|then| then <= at(now)));
                prop_assert!(!view.fixed_port || view.instances.is_empty());
                let wanted = view.wanted.unwrap_or(0) as usize;
                let active = view.instances.iter().filter(|one| one.retiring.is_none());
                // One more than wanted only as the successor of a broken one.
                let successor = usize::from(wanted == 1 && active.clone().any(|one| one.broken));
                prop_assert!(active.count() + starts <= wanted + successor);
            }
            if view.wanted.is_none() {
                prop_assert!(starts == 0);
            }
        }

        /// A world in which every action succeeds comes to rest with what is wanted.
        #[test]
        fn it_comes_to_rest(mut view in any_view(), wanted in 0_u32..5) {
            view.wanted = Some(if view.fixed_port { wanted.min(1) } else { wanted });
            let mut now = 200_000;
            let mut next = 100;
            for _ in 0..60 {
                let found = actions(&view, now);
                for action in &found {
                    let number = match *action {
                        Start => {
                            next += 1;
                            view.instances.push(InstanceView { started: at(now), ..instance(next, Starting) });
                            continue;
                        }
                        Retire(number) | GiveUp(number) | Replace(number) | Stop(number) => number,
                    };
                    if let Stop(_) = action {
                        view.instances.retain(|one| one.number != number);
                    } else if let Some(one) = view.instances.iter_mut().find(|one| one.number == number) {
                        one.retiring = Some(at(now));
                    }
                }
                now += 1_000;
                for one in &mut view.instances {
                    one.checked = true;
                    if one.retiring.is_some() {
                        one.left = true;
                        one.in_flight = Some(0);
                    } else if !one.broken {
                        one.health = Ready;
                    }
                }
            }
            prop_assert_eq!(actions(&view, now), []);
            let sound = view.instances.iter().filter(|one| !one.broken && one.retiring.is_none()).count();
            prop_assert_eq!(sound, view.wanted.unwrap() as usize);
            prop_assert_eq!(view.instances.len(), sound);
        }
    }
}
