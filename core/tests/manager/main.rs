//! The manager: how it comes to command, whom it counts in, what it numbers, and what it says of it.

mod beginning;
mod bench;
mod order;
mod reports;
mod views;
