//! The transport contract, clause by clause, on every transport.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod conformance {
    pub(crate) mod blocks;
    pub(crate) mod cases;
    pub(crate) mod harness;
}

use conformance::{
    blocks, cases,
    harness::{Loopback, Tcp},
};

macro_rules! on_every_transport {
    ($($cases:ident::$case:ident),* $(,)?) => {
        mod loopback {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $cases::$case::<Loopback>().await;
            })*
        }
        mod tcp {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $cases::$case::<Tcp>().await;
            })*
        }
    };
}

on_every_transport!(
    cases::every_pair_of_1_2_3_and_5_nodes_is_linked,
    cases::frames_of_every_size_arrive_and_a_larger_one_is_refused,
    cases::frames_keep_their_order_by_sender_and_class,
    cases::a_full_lane_holds_its_sender_back_and_no_other_class,
    cases::a_killed_peer_is_heard_of_and_comes_back,
    cases::a_killed_dialer_comes_back_without_a_new_plan,
    cases::a_closed_term_is_silent_when_closing_returns,
    cases::closing_waits_until_the_writer_has_stopped,
    cases::closing_ends_what_waits_for_room,
    cases::a_term_is_opened_beside_an_older_one,
    cases::a_peer_that_is_no_longer_planned_is_cut,
    cases::more_links_than_the_limit_are_refused,
    cases::keys_of_a_link_fit_its_other_end_only,
    cases::the_fault_hook_drops_duplicates_and_delays,
    cases::the_fault_hook_cuts_a_link_which_comes_up_again,
    blocks::blocks_of_every_size_come_whole_to_sets_of_every_size,
    blocks::a_block_of_64_mib_comes_whole,
    blocks::who_calls_for_others_gives_and_is_not_asked,
    blocks::all_nodes_give_to_each_other_at_the_same_time,
    blocks::a_node_that_gets_nothing_says_so,
    blocks::a_link_that_breaks_on_the_way_is_given_again_what_went_over_it,
    blocks::bytes_that_are_not_what_was_announced_are_not_held,
    blocks::what_there_is_no_room_for_is_refused_at_once,
    blocks::what_is_no_piece_is_refused_and_counted,
    blocks::who_never_held_a_block_gets_it_from_one_that_does,
    blocks::a_block_that_nobody_gives_is_given_up,
    blocks::readers_keep_what_they_got_and_get_what_was_put_last,
    blocks::control_frames_pass_a_block_that_nobody_takes,
);
