//! The device that has this node's address, opened.

use std::{ffi::CStr, io, mem::MaybeUninit, net::IpAddr, ptr::NonNull, slice, sync::Arc};

use rdma_sys::{
    ___ibv_query_port, IBV_GID_TYPE_ROCE_V2, ibv_close_device, ibv_context, ibv_device, ibv_device_attr, ibv_free_device_list,
    ibv_get_device_list, ibv_get_device_name, ibv_gid_entry, ibv_open_device, ibv_port_attr, ibv_port_state, ibv_query_device,
};

use super::{
    endpoint::{Gid, Mtu},
    error::VerbsError,
    port::{self, ClosedDevice, FoundPort, FoundPorts},
};
use crate::limits::VERBS_GIDS_MAX;

unsafe extern "C" {
    /// `ibv_query_gid_table` of the headers is an inline function that calls this; rdma-sys 0.3.0 binds neither.
    fn _ibv_query_gid_table(context: *mut ibv_context, entries: *mut ibv_gid_entry, most: usize, flags: u32, entry_bytes: usize) -> isize;
}

/// The port of this node's own address, on its opened device. Clones are the same one, which is closed with the last of them.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    context: Context,
    name: String,
    gid_index: u8,
    port: u8,
    gid: Gid,
    lid: u16,
    mtu: Mtu,
}

/// An opened device.
#[derive(Debug)]
struct Context(NonNull<ibv_context>);

/// All devices of the machine, for as long as the list lives.
struct List {
    first: NonNull<*mut ibv_device>,
    count: usize,
}

// SAFETY: libibverbs lets every thread call every function on one context, and the pointer is given away with its owner only.
unsafe impl Send for Context {}
// SAFETY: the same; nothing here writes through the pointer.
unsafe impl Sync for Context {}

// === impl Device ===

impl Device {
    /// Opens the device with the port whose RoCE v2 address is `address`, this node's own.
    ///
    /// # Errors
    /// No active port has the address, or several have, or the devices cannot be looked at.
    pub fn of_address(address: IpAddr) -> Result<Self, VerbsError> {
        let list = List::new()?;
        let (mut contexts, mut found, mut owners) = (Vec::new(), FoundPorts::default(), Vec::new());
        for device in list.devices() {
            match Context::look_at(*device) {
                Ok((context, ports)) => {
                    owners.resize(owners.len() + ports.len(), contexts.len());
                    found.ports.extend(ports);
                    contexts.push(context);
                }
                // It is another's, or its port is missed below.
                Err(error) => found.closed.push(ClosedDevice { device: name_of(*device), reason: error.kind() }),
            }
        }
        let place = port::choose(address, &found)?;
        let chosen = found.ports.swap_remove(place);
        let context = contexts.swap_remove(owners[place]);
        let state = context.port(chosen.port).and_then(|state| Ok((state.lid, mtu_of(&state)?)));
        let (lid, mtu) = state.map_err(|source| VerbsError::Query { device: chosen.device.clone(), port: chosen.port, source })?;
        let gid_index = u8::try_from(chosen.gid_index).expect("an index beyond a byte is not chosen");
        let (port, gid) = (chosen.port, chosen.gid);
        Ok(Self(Arc::new(Inner { context, name: chosen.device, gid_index, port, gid, lid, mtu })))
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its port's number.
    #[must_use]
    pub fn port(&self) -> u8 {
        self.0.port
    }

    /// The place of the node's address in the port's table.
    #[must_use]
    pub fn gid_index(&self) -> u8 {
        self.0.gid_index
    }

    /// The node's address.
    #[must_use]
    pub fn gid(&self) -> Gid {
        self.0.gid
    }

    /// Payload of a packet that the port can take.
    #[must_use]
    pub fn mtu(&self) -> Mtu {
        self.0.mtu
    }

    pub(super) fn lid(&self) -> u16 {
        self.0.lid
    }

    pub(super) fn context(&self) -> *mut ibv_context {
        self.0.context.0.as_ptr()
    }
}

// === impl Context ===

impl Context {
    /// Opens a device; with every address of every port of it.
    fn look_at(device: *mut ibv_device) -> io::Result<(Self, Vec<FoundPort>)> {
        // SAFETY: the device is of a list that is not freed yet.
        let context = unsafe { ibv_open_device(device) };
        let context = NonNull::new(context).map(Self).ok_or_else(io::Error::last_os_error)?;
        let ports = context.addresses(&name_of(device))?;
        Ok((context, ports))
    }

    fn addresses(&self, name: &str) -> io::Result<Vec<FoundPort>> {
        let ports = self.ports()?;
        let found = self.gids()?.into_iter().filter_map(|entry| {
            let port = u8::try_from(entry.port_num).ok()?;
            let active = *ports.get(usize::from(port).checked_sub(1)?)?;
            // SAFETY: every sixteen bytes are an address; the other member of the union has the same.
            let gid = Gid(unsafe { entry.gid.raw });
            let roce_v2 = entry.gid_type == IBV_GID_TYPE_ROCE_V2;
            Some(FoundPort { device: name.to_owned(), port, active, gid, gid_index: entry.gid_index, roce_v2 })
        });
        Ok(found.collect())
    }

    /// Which ports are active, the first being number 1.
    fn ports(&self) -> io::Result<Vec<bool>> {
        let mut attributes = MaybeUninit::<ibv_device_attr>::zeroed();
        // SAFETY: the context is open, and the attributes are ours and as large as the function's header says.
        let answer = unsafe { ibv_query_device(self.0.as_ptr(), attributes.as_mut_ptr()) };
        check(answer)?;
        // SAFETY: the call succeeded, so they are filled in; and zeros were valid before.
        let attributes = unsafe { attributes.assume_init() };
        (1..=attributes.phys_port_cnt).map(|port| Ok(self.port(port)?.state == ibv_port_state::IBV_PORT_ACTIVE)).collect()
    }

    fn port(&self, port: u8) -> io::Result<ibv_port_attr> {
        let mut attributes = MaybeUninit::<ibv_port_attr>::zeroed();
        // SAFETY: the context is open, and the attributes are ours and zeroed, as the function's fallback needs them.
        let answer = unsafe { ___ibv_query_port(self.0.as_ptr(), port, attributes.as_mut_ptr()) };
        check(answer)?;
        // SAFETY: the call succeeded, so they are filled in; and zeros were valid before.
        Ok(unsafe { attributes.assume_init() })
    }

    fn gids(&self) -> io::Result<Vec<ibv_gid_entry>> {
        let mut entries: Vec<ibv_gid_entry> = Vec::with_capacity(VERBS_GIDS_MAX);
        // SAFETY: the context is open, there is room for as many entries as are said, of the size that is said, and the last but one
        // argument may only be 0.
        let answer = unsafe { _ibv_query_gid_table(self.0.as_ptr(), entries.as_mut_ptr(), VERBS_GIDS_MAX, 0, size_of::<ibv_gid_entry>()) };
        let count = usize::try_from(answer).map_err(|_| io::Error::from_raw_os_error(i32::try_from(-answer).unwrap_or(0)))?;
        assert!(count <= VERBS_GIDS_MAX, "no more entries are written than there is room for");
        // SAFETY: the answer is how many entries were written, all from the first on.
        unsafe { entries.set_len(count) };
        Ok(entries)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was opened by `open`, is closed nowhere else, and what was made of it has a clone of its device.
        let _answer = unsafe { ibv_close_device(self.0.as_ptr()) };
    }
}

// === impl List ===

impl List {
    fn new() -> Result<Self, VerbsError> {
        let mut count = 0;
        // SAFETY: the count is ours.
        let first = unsafe { ibv_get_device_list(&raw mut count) };
        let first = NonNull::new(first).ok_or_else(|| VerbsError::List(io::Error::last_os_error()))?;
        Ok(Self { first, count: usize::try_from(count).unwrap_or(0) })
    }

    fn devices(&self) -> &[*mut ibv_device] {
        // SAFETY: the library has made an array of so many pointers, and frees it only when the list is dropped.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the library has made it, and it is freed nowhere else. Opened devices stay open.
        unsafe { ibv_free_device_list(self.first.as_ptr()) };
    }
}

fn name_of(device: *mut ibv_device) -> String {
    // SAFETY: the device is of a list that is not freed yet.
    let name = unsafe { ibv_get_device_name(device) };
    // SAFETY: a device's name is a string of C's that lives as long as the device.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

fn mtu_of(port: &ibv_port_attr) -> io::Result<Mtu> {
    let mtu = u8::try_from(port.active_mtu).ok().and_then(Mtu::of_code);
    mtu.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("its MTU has the unknown number {}", port.active_mtu)))
}

/// The answer of a function that answers with the number of its error.
pub(super) fn check(answer: i32) -> io::Result<()> {
    // Some answer -1 and leave the number where C's library keeps it.
    match answer {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        number => Err(io::Error::from_raw_os_error(number.abs())),
    }
}
