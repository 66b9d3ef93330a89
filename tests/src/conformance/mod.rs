//! The store conformance suite: what every store does, one behaviour a test.
//!
//! A store's test file names its factory once:
//!
//! ```
//! use durable_tests::MemoryStore;
//! use durable_tests::conformance::Opened;
//!
//! durable_tests::conformance_suite!(|| Opened::new(MemoryStore::new(true)));
//! # fn main() {}
//! ```
//!
//! Stores that share one server give each factory call a fresh table or hub. What a store does not claim
//! ([`durable::ports::Store::delivers_atomically`]) is left out by an explicit branch in the theme that is about it, and nowhere else.

pub mod cloud;
pub mod commit;
pub mod create;
pub mod deliver;
pub mod deliveries;
pub mod history;
pub mod large;
pub mod list;
pub mod lives;
pub mod load;
pub mod purge;
mod subject;
pub mod unknown;

use durable::ports::PortFuture;
pub use subject::{Opened, Runner, Subject};

/// Runs one behaviour on a fresh store. What [`conformance_suite!`](crate::conformance_suite) makes each test of.
pub fn check<F>(open: impl Fn() -> Opened + Send + Sync + 'static, behaviour: impl FnOnce(Subject) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let subject = Subject::new(open);
    let behaviour: PortFuture<()> = Box::pin(behaviour(subject.clone()));
    subject.run(behaviour);
}

/// Makes a `#[test]` of every behaviour, for the store that the factory (`Fn() -> Opened`) opens.
#[macro_export]
macro_rules! conformance_suite {
    ($open:expr) => {
        $crate::conformance_tests! { $open;
            create {
                a_new_instance_reads_back_as_it_was_given
                a_new_instance_is_stored_with_what_its_first_turn_did
                the_first_commit_can_follow_a_create_without_a_load
                a_live_instance_refuses_a_second_start_and_is_shown
                a_refused_start_gives_a_state_to_go_on_from
                an_ended_instance_is_replaced_by_a_start
                the_policy_never_refuses_live_and_ended_ones
                the_policy_replace_any_replaces_live_and_ended_ones
                a_repeated_start_of_the_same_life_changes_nothing
                an_ended_instance_with_an_outbox_is_not_replaced
                a_replaced_life_leaves_nothing_behind
                ids_are_kept_to_the_letter
                of_many_starts_at_once_exactly_one_wins
                of_the_same_start_many_times_at_once_one_is_stored
            }
            load {
                an_unknown_instance_is_unknown_to_every_read
                a_caller_that_knows_the_first_events_gets_the_later_ones
                a_caller_that_knows_another_life_or_execution_gets_everything
                a_partial_load_is_enough_to_commit
                the_status_shows_what_was_written_last
                a_read_sees_every_write_that_was_answered_before
            }
            commit {
                every_field_of_the_header_reads_back
                commits_can_follow_one_another_without_a_load
                a_lost_race_gives_the_winners_state_and_overwrites_nothing
                a_loser_goes_on_from_the_state_it_was_given
                a_commit_on_a_later_revision_loses
                of_many_drivers_at_once_exactly_one_wins
                a_commit_for_an_unknown_instance_loses_and_stores_nothing
                a_commit_of_a_former_life_loses_to_the_present_one
                input_and_custom_status_stay_until_they_are_replaced
                the_output_is_kept_once_it_is_written
                the_failure_is_kept_and_there_is_no_output
                a_commit_without_events_leaves_history_and_inbox_alone
                a_commit_changes_no_other_instance
            }
            unknown {
                an_applied_commit_of_unknown_outcome_is_known_by_its_commit_id
                an_applied_commit_followed_by_a_rivals_is_known_by_the_ring
                a_lost_commit_of_unknown_outcome_is_known_as_not_mine
                a_commit_that_never_arrived_can_be_made_again
                a_commit_of_unknown_outcome_is_not_found_in_the_next_life
                a_start_of_unknown_outcome_can_be_repeated
                a_delivery_of_unknown_outcome_can_be_repeated
                a_purge_of_unknown_outcome_can_be_repeated
                a_dropped_call_leaves_a_store_that_works
            }
            deliver {
                messages_stand_in_the_inbox_in_the_order_in_which_they_came
                a_message_for_an_unknown_instance_is_not_found
                a_message_for_an_ended_instance_is_refused
                a_message_for_another_life_is_not_found
                a_message_that_stands_in_the_inbox_is_a_duplicate
                a_message_that_was_consumed_is_a_duplicate
                a_message_that_was_fused_is_a_duplicate
                the_whole_ring_is_remembered
                a_senders_number_in_the_inbox_makes_lower_ones_duplicates
                a_senders_number_that_was_consumed_is_remembered
                a_key_is_remembered_for_a_day
                a_thousand_keys_are_remembered
                a_senders_number_that_was_fused_is_remembered
                a_remembered_number_never_goes_down
                each_sender_and_each_life_of_it_has_its_own_numbers
                a_delivery_between_load_and_commit_never_makes_the_commit_lose
                later_messages_survive_a_commit_that_took_what_it_had_read
                a_fused_message_goes_behind_the_inbox
                a_fused_message_takes_nothing_that_its_turn_did_not_see
                a_message_that_came_during_the_last_turn_is_told_of
                a_suspended_instance_collects_messages
                an_inbox_full_of_messages_refuses_and_drains
                an_inbox_full_of_bytes_refuses_and_drains
                of_the_same_message_many_times_at_once_one_is_stored
                of_many_messages_at_once_none_is_lost_or_taken_twice
            }
            deliveries {
                a_child_is_started_in_the_commit
                a_child_that_has_ended_since_it_was_started_is_told_to_the_parent_again
                a_child_that_was_started_before_is_left_as_it_is
                a_refused_child_is_told_to_the_parent
                a_child_replaces_an_ended_instance
                messages_to_others_are_delivered_in_the_commit
                a_message_to_itself_is_delivered_in_the_commit
                messages_that_nobody_can_take_are_dropped
                duplicates_among_deliveries_are_dropped
                the_last_commit_delivers_too
                a_lost_commit_delivers_nothing
                a_create_with_its_first_turn_delivers
                a_message_from_a_commit_is_not_lost_to_a_full_inbox
            }
            history {
                events_of_many_small_commits_stand_in_order
                events_of_commits_of_every_size_leave_no_seam
                events_are_bytes_that_nobody_looks_into
                a_range_of_history_is_cut_to_what_there_is
                the_history_of_another_life_or_execution_is_empty
                continue_as_new_drops_the_old_events_and_keeps_the_inbox
                continue_as_new_forgets_no_message
                many_executions_follow_one_another
                a_lost_continue_as_new_drops_nothing
            }
            list {
                an_empty_store_lists_nothing
                instances_stand_in_the_order_of_creation
                an_item_shows_what_the_status_shows
                the_prefix_is_taken_to_the_letter
                the_bounds_of_creation_are_inclusive
                any_set_of_states_can_be_asked_for
                filters_hold_together
                pages_of_any_size_tell_of_each_instance_once
                paging_stays_right_while_instances_come_and_go
                a_token_outlives_the_instance_it_points_to
                a_replaced_instance_stands_where_its_new_life_was_created
                a_token_of_another_store_is_refused
            }
            purge {
                an_unknown_instance_cannot_be_purged
                a_live_instance_is_not_purged
                an_ended_instance_with_an_outbox_is_not_purged
                a_purged_instance_is_unknown_to_every_call
                an_instance_is_unknown_from_the_first_step_of_its_purge
                a_step_of_an_old_purge_does_not_harm_the_next_life
                a_purged_id_is_free_again_and_the_new_life_is_empty
                a_purge_touches_no_other_instance
            }
            lives {
                messages_of_an_ended_life_never_reach_the_next
                messages_of_a_replaced_life_never_reach_the_next
                messages_of_a_purged_life_never_reach_the_next
                messages_of_a_former_life_never_reach_one_that_has_worked
                a_late_commit_of_a_former_life_changes_nothing
                a_commit_on_a_life_that_has_begun_anew_changes_nothing
                a_late_start_of_a_former_life_is_refused_by_the_live_one
                many_lives_of_one_id_keep_apart
            }
            large {
                ten_thousand_events_fit_into_one_commit
                payloads_of_the_largest_size_come_back
                a_message_of_the_largest_size_comes_through
                a_fused_message_of_the_largest_size_comes_through
                large_and_small_events_stand_in_order
                a_turn_of_many_messages_is_one_commit
                a_large_header_comes_back
                an_empty_payload_is_not_the_same_as_none
            }
        }
    };
}

/// Used by [`conformance_suite!`](crate::conformance_suite).
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($open:expr; $($theme:ident { $($name:ident)* })*) => {
        $(mod $theme {
            #[allow(unused_imports, reason = "the factory may be written with the names of the file that it stands in")]
            use super::*;
            $(
                #[test]
                fn $name() {
                    $crate::conformance::check($open, $crate::conformance::$theme::$name);
                }
            )*
        })*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_behaviour_stands_in_the_list() {
        let list = include_str!("mod.rs");
        for theme in [
            include_str!("create.rs"),
            include_str!("load.rs"),
            include_str!("commit.rs"),
            include_str!("unknown.rs"),
            include_str!("deliver.rs"),
            include_str!("deliveries.rs"),
            include_str!("history.rs"),
            include_str!("list.rs"),
            include_str!("purge.rs"),
            include_str!("lives.rs"),
            include_str!("large.rs"),
        ] {
            for line in theme.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split('(').next().unwrap();
                assert!(list.lines().any(|line| line.trim() == name), "{name} is not in the list");
            }
        }
    }
}
