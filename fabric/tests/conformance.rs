//! The transport contract, clause by clause, on every transport.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod conformance {
    pub(crate) mod cases;
    pub(crate) mod harness;
}

use conformance::{
    cases,
    harness::{Loopback, Tcp},
};

macro_rules! on_every_transport {
    ($($case:ident),* $(,)?) => {
        mod loopback {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                cases::$case::<Loopback>().await;
            })*
        }
        mod tcp {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                cases::$case::<Tcp>().await;
            })*
        }
    };
}

on_every_transport!(
    every_pair_of_1_2_3_and_5_nodes_is_linked,
    frames_of_every_size_arrive_and_a_larger_one_is_refused,
    frames_keep_their_order_by_sender_and_class,
    a_full_lane_holds_its_sender_back_and_no_other_class,
    a_killed_peer_is_heard_of_and_comes_back,
    a_killed_dialer_comes_back_without_a_new_plan,
    a_closed_term_is_silent_when_closing_returns,
    closing_waits_until_the_writer_has_stopped,
    closing_ends_what_waits_for_room,
    a_term_is_opened_beside_an_older_one,
    a_peer_that_is_no_longer_planned_is_cut,
    more_links_than_the_limit_are_refused,
    keys_of_a_link_fit_its_other_end_only,
    the_fault_hook_drops_duplicates_and_delays,
    the_fault_hook_cuts_a_link_which_comes_up_again,
);
