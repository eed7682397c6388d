//! Memory beyond what a process may lock.

use rustix::{
    process::{Resource, Rlimit, setrlimit},
    thread::{CapabilitySet, capabilities, set_capabilities},
};
use strobe_fabric::verbs::{Buffer, Domain, Memory, VerbsError, Window};

use super::node::Node;

/// The last case of a process, which cannot raise its limit again.
pub(crate) fn memory_beyond_the_limit_is_explained(node: &Node) {
    let mut own = capabilities(None).unwrap();
    own.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, own).unwrap();
    let domain = Domain::new(&node.device).unwrap();
    // The kernel has one error for a limit that is too low and another for none at all.
    for limit in [64 << 10, 0] {
        setrlimit(Resource::Memlock, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
        let error = Buffer::new(&domain, 1 << 20).unwrap_err();
        let VerbsError::LockedMemory { limit_bytes, ref source, .. } = error else { panic!("{error}") };
        assert_eq!(limit_bytes, limit);
        node.tell(&format!("{error}: {source}"));
    }
    let mut memory = Memory::new(1 << 20).unwrap();
    memory.write(7, &[7]).unwrap();
    let unopened = Window::open(&domain, memory).unwrap_err();
    let mut kept = [0];
    unopened.memory.read(7, &mut kept).unwrap();
    assert_eq!(kept, [7], "what could not be opened is not lost");
}
