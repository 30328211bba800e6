//! What every [`Store`] promises.

pub mod crashing;
pub mod differential;
pub mod inbox;
pub mod keeping;
pub mod reading;
pub mod sample;
pub mod transition;

use tidegate_store::Store;

/// Where a store is.
pub trait Place: Send + Sync {
    /// The store that is open.
    fn store(&self) -> &dyn Store;

    /// The process that has it open ends, and another one opens it. A store that lives in memory
    /// lives on.
    fn reopen(&mut self);
}

/// Makes a test of each promise of a store.
///
/// ```ignore
/// tidegate_conformance::store_suite!(#[tokio::test] MyPlace::new());
/// ```
#[macro_export]
macro_rules! store_suite {
    (#[$test:meta] $place:expr) => {
        $crate::store_suite! { @each #[$test] ($place)
            reading::an_empty_store_has_nothing,
            reading::deployments_are_listed_in_pages,
            reading::events_are_numbered_in_their_scope,
            inbox::a_request_allots_numbers_and_fills_the_inbox,
            inbox::the_same_key_gives_the_same_deployment,
            inbox::an_input_is_accepted_once,
            inbox::keys_do_not_change_their_meaning,
            transition::a_transition_is_kept_whole,
            transition::a_transition_from_an_old_version_changes_nothing,
            transition::a_transition_that_names_what_is_not_there_changes_nothing,
            transition::what_an_update_leaves_out_stays,
            transition::values_come_back_to_the_last_bit,
            transition::many_writers_lose_nothing,
            keeping::a_project_keeps_its_first_date,
            keeping::releases_are_immutable,
            keeping::a_commit_finds_its_latest_clean_release,
            keeping::samples_are_kept_until_forgotten,
            keeping::settings_are_replaced,
            crashing::what_was_answered_is_there_for_whoever_comes_next,
            crashing::a_dropped_write_happened_wholly_or_not_at_all,
            crashing::a_dropped_request_is_the_same_deployment_when_it_is_repeated,
            crashing::who_does_not_know_whether_it_happened_learns_it_from_the_version,
            crashing::an_engine_that_was_replaced_commits_nothing_any_more,
        }
    };
    (@each #[$test:meta] ($place:expr) $($module:ident::$promise:ident,)*) => {$(
        #[$test]
        async fn $promise() {
            let mut place = $place;
            $crate::store::$module::$promise(&mut place).await;
        }
    )*};
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_promise_is_in_the_suite() {
        crate::every_promise_is_listed(
            include_str!("store.rs"),
            &[
                ("crashing", include_str!("store/crashing.rs")),
                ("inbox", include_str!("store/inbox.rs")),
                ("keeping", include_str!("store/keeping.rs")),
                ("reading", include_str!("store/reading.rs")),
                ("transition", include_str!("store/transition.rs")),
            ],
        );
    }
}
