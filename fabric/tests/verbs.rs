//! RDMA between two nodes: two processes of this program, each in a network namespace with a device of its own. They tell each other
//! their endpoints over TCP, which is no part of what is tried. `cargo xtask rdma-vm verbs` runs both where there are such devices;
//! without arguments there is nothing to try.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod verbs {
    pub(crate) mod cases;
    pub(crate) mod control;
    pub(crate) mod limit;
    pub(crate) mod node;
}

use std::net::IpAddr;

use verbs::{cases, control::Control, limit, node::Node};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["receive", own] => run(own, &mut Control::accept(own.parse().unwrap()), cases::Side::Receiver),
        ["send", own, peer] => run(own, &mut Control::connect(peer.parse().unwrap()), cases::Side::Sender),
        // What cargo's own harness would be given stands for no node.
        _ => println!("verbs: nothing was tried: it takes two nodes with RDMA devices, as `cargo xtask rdma-vm verbs` makes them"),
    }
}

fn run(own: &str, control: &mut Control, side: cases::Side) {
    let address: IpAddr = own.parse().unwrap();
    let node = Node::of(address, side);
    for (name, case) in cases::ALL {
        case(&node, control);
        control.meet();
        node.tell(name);
    }
    limit::memory_beyond_the_limit_is_explained(&node);
    control.meet();
}
