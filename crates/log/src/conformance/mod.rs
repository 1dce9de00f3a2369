//! The one suite that every backend passes, and the doubles that tests of other crates build on.
//!
//! A backend's tests write a [`Fixture`] and expand [`change_log_conformance!`](crate::change_log_conformance), plus
//! [`durable_conformance!`](crate::durable_conformance) if it survives a restart; for observations, likewise. A case
//! fails by panicking, as a test does. Nothing here is for production code.

pub mod appending;
pub mod content;
pub mod durable;
mod faulty;
mod make;
pub mod observations;
pub mod reading;

use std::sync::Arc;

use crate::{ChangeLog, ObservationStore};

use self::make::{fill, flag};

pub use faulty::{Fault, FaultyLog};
pub use make::{Draft, append_all, fake_body, fake_hash};

/// Makes the log that a case works on.
pub trait Fixture: Sync {
    /// Opens the log: empty at first; the same again once every handle to it is gone, if the backend is durable.
    fn open(&self) -> Arc<dyn ChangeLog>;
}

/// Makes the observation store that a case works on.
pub trait ObservationFixture: Sync {
    /// Opens the store: empty at first; the same again once every handle to it is gone, if the backend is durable.
    fn open(&self) -> Arc<dyn ObservationStore>;
}

/// Runs a case to its end on this thread.
pub fn block_on<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers needs no resources")
        .block_on(case)
}

/// Expands to one `#[test]` for each case named.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($fixture:expr; $module:ident: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let fixture = $fixture;
                $crate::conformance::block_on($crate::conformance::$module::$case(&fixture));
            }
        )*
    };
}

/// Expands to the tests that every [`ChangeLog`] passes; the argument makes a new [`Fixture`].
#[macro_export]
macro_rules! change_log_conformance {
    ($fixture:expr) => {
        $crate::conformance_cases! { $fixture; appending:
            an_empty_log_has_the_genesis_head_and_answers_every_read
            what_was_appended_is_read_back_byte_for_byte
            an_append_on_an_old_head_conflicts_and_stores_nothing
            a_head_of_the_right_revision_and_another_hash_conflicts
            of_many_writers_on_one_head_one_wins
            a_lost_acknowledgement_and_a_resend_make_one_record
            an_unanswered_append_is_settled_and_sent_again
            an_id_is_taken_once
            a_run_is_stored_whole_or_not_at_all
            a_run_that_does_not_follow_its_head_is_refused
            an_empty_run_only_compares
            a_record_of_one_mebibyte_is_stored
            what_is_larger_than_its_limit_is_refused
            the_watch_is_never_ahead_of_the_head
        }
        $crate::conformance_cases! { $fixture; reading:
            a_read_stops_at_its_limits_and_never_before_one_record
            a_snapshot_is_the_fold_of_the_changes_up_to_it
            the_last_change_of_a_document_in_an_entry_stands
            history_lists_the_changes_of_one_document_newest_first
            pages_of_changes_join_without_gap_or_overlap
            pages_of_facets_join_and_say_by_what_each_commit_is_found
            each_query_filter_selects_and_all_of_them_combine
            query_pages_join_without_gap_or_overlap
            a_time_names_the_last_revision_at_or_before_it
        }
        $crate::conformance_cases! { $fixture; content:
            bodies_come_back_in_the_order_asked
            an_erased_body_leaves_its_place_and_the_chain
            the_same_blob_is_stored_once_and_comes_back_after_an_erasure
            pages_visit_every_body_and_blob_once
            the_three_newest_checkpoints_are_kept
            a_checkpoint_of_an_unknown_entry_is_refused
            an_erasure_drops_every_checkpoint
            small_values_are_replaced_and_bounded
            a_sound_store_has_nothing_to_report
        }
    };
}

/// Expands to the tests that a [`ChangeLog`] passes if it survives a restart; the argument makes a new [`Fixture`].
#[macro_export]
macro_rules! durable_conformance {
    ($fixture:expr) => {
        $crate::conformance_cases! { $fixture; durable:
            a_restart_keeps_everything
            a_restart_keeps_erasures
            a_log_goes_on_after_a_restart
        }
    };
}

/// Expands to the tests that every [`ObservationStore`] passes; the argument makes a new [`ObservationFixture`].
#[macro_export]
macro_rules! observation_conformance {
    ($fixture:expr) => {
        $crate::conformance_cases! { $fixture; observations:
            counts_add_up_by_the_groups_asked_for
            a_window_includes_its_start_and_leaves_out_its_end
            a_key_counts_once_within_its_kind
            the_latest_of_each_subject_is_found
            a_list_is_newest_first_and_its_pages_join
            labels_select_whatever_they_contain
            retention_drops_by_age_and_by_number
            a_batch_is_bounded
        }
    };
}
