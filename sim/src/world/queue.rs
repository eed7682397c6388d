//! Events in the order of their time; of the same time, in the order in which they were made.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Event;
use crate::clock::Moment;

/// A heap of places, so that sifting moves no events.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    made: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Moment, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.made += 1;
        self.heap.push(Reverse((at, self.made, place)));
    }

    pub(crate) fn pop(&mut self) -> Option<(Moment, Event)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        let event = self.events[place].take().expect("a place in the heap has its event");
        Some((at, event))
    }
}
