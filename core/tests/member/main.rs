//! The member: what it promises, whom it obeys, what it holds and applies, and what it does with its node's gangs.

mod bench;
mod gangs;
mod order;
mod seals;
