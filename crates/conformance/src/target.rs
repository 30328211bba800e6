//! What every [`Target`](tidegate_targets::Target) promises.

pub mod counting;
pub mod crashing;
pub mod draining;
pub mod dropping;
pub mod fencing;
mod harness;
pub mod idempotency;
pub mod order;
pub mod outcome;
mod world;

pub use harness::{Answer, Behaviour, Harness, Visitor};

/// Makes a test of each promise of a target.
///
/// ```ignore
/// tidegate_conformance::target_suite!(#[tokio::test] MyHarness::new().await);
/// ```
///
/// A promise that makes no sense for a target is left out by name, with the reason. It stays in the
/// list of tests as an ignored one that tells it.
///
/// ```ignore
/// tidegate_conformance::target_suite!(
///     #[tokio::test] MyHarness::new().await;
///     without one_scope_is_nothing_to_another: "there is one scope"
/// );
/// ```
#[macro_export]
macro_rules! target_suite {
    (#[$test:meta] $harness:expr $(; $(without $left_out:ident: $reason:literal),+)?) => {
        $crate::target_suite! { @ignore ($) $($($left_out: $reason,)+)? }
        $crate::target_suite! { @each #[$test] ($harness)
            idempotency::applying_twice_is_applying_once,
            idempotency::routing_twice_is_routing_once,
            idempotency::a_wish_repeated_after_everything_was_killed_brings_it_back,
            idempotency::what_was_forgotten_can_be_wanted_again,
            order::the_latest_list_wins_without_waiting_for_any,
            order::a_table_may_follow_its_list_at_once,
            order::a_table_that_names_an_unknown_revision_is_to_be_tried_again,
            order::a_table_that_names_a_forgotten_revision_is_to_be_tried_again,
            order::of_calls_at_once_the_newest_stays,
            order::one_scope_is_nothing_to_another,
            fencing::an_older_generation_is_refused_and_changes_nothing,
            fencing::the_same_generation_is_taken_again,
            fencing::an_older_epoch_is_refused_and_changes_nothing,
            fencing::the_same_epoch_is_taken_again,
            fencing::an_older_epoch_is_refused_by_a_new_control_plane_too,
            fencing::a_generation_is_followed_over_a_crash_or_told_as_unknown,
            fencing::observation_tells_what_was_answered,
            fencing::nothing_is_told_before_anything_was_asked,
            dropping::a_dropped_list_never_overtakes_a_newer_one,
            dropping::a_dropped_list_is_taken_when_it_is_repeated,
            dropping::a_dropped_table_never_overtakes_a_newer_one,
            dropping::a_dropped_table_is_taken_when_it_is_repeated,
            dropping::a_dropped_table_takes_effect_or_not_and_it_is_told_which,
            crashing::a_crash_between_apply_and_observe_starts_nothing_twice,
            crashing::a_crash_while_instances_start_starts_nothing_twice,
            crashing::a_crash_between_route_and_observe_loses_no_table,
            crashing::a_new_control_plane_starts_and_stops_nothing_unasked,
            crashing::a_drain_goes_on_over_a_crash,
            crashing::exits_are_counted_and_never_forgotten,
            crashing::exits_that_nobody_saw_are_counted,
            crashing::what_is_never_ready_is_counted_once,
            draining::what_is_not_named_answers_what_it_was_asked,
            draining::what_is_not_named_loses_its_traffic_before_it_stops,
            draining::requests_that_never_end_are_waited_for_no_longer_than_the_drain,
            outcome::an_unanswered_table_may_be_in_force,
            outcome::nothing_stops_that_an_unanswered_table_may_have_given_traffic,
            outcome::nothing_stops_that_a_dropped_table_may_have_given_traffic,
            counting::counters_never_fall_while_the_data_plane_lives,
            counting::whatever_observe_tells_anew_is_a_change,
        }
    };
    // A test with this name, ignored when it is one of those left out.
    (@ignore ($dollar:tt) $($left_out:ident: $reason:literal,)*) => {
        macro_rules! promise {
            $(($left_out $dollar($dollar test:tt)*) => {
                #[ignore = $reason]
                $dollar($dollar test)*
            };)*
            ($dollar name:ident $dollar($dollar test:tt)*) => { $dollar($dollar test)* };
        }
    };
    (@each #[$test:meta] ($harness:expr) $($module:ident::$promise:ident,)*) => {$(
        promise! { $promise
            #[$test]
            async fn $promise() {
                let mut harness = $harness;
                $crate::target::$module::$promise(&mut harness).await;
                $crate::target::Harness::end(&mut harness).await;
            }
        }
    )*};
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_promise_is_in_the_suite() {
        crate::every_promise_is_listed(
            include_str!("target.rs"),
            &[
                ("counting", include_str!("target/counting.rs")),
                ("crashing", include_str!("target/crashing.rs")),
                ("draining", include_str!("target/draining.rs")),
                ("dropping", include_str!("target/dropping.rs")),
                ("fencing", include_str!("target/fencing.rs")),
                ("idempotency", include_str!("target/idempotency.rs")),
                ("order", include_str!("target/order.rs")),
                ("outcome", include_str!("target/outcome.rs")),
            ],
        );
    }
}
