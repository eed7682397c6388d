//! Memory that the network card reads and writes: whole pages, of which nothing else has a part.

use std::{io, mem::ManuallyDrop, ptr::NonNull, slice};

use rdma_sys::{ibv_access_flags, ibv_dereg_mr, ibv_mr, ibv_reg_mr};
use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap},
    process::{Resource, getrlimit},
};

use super::{domain::Domain, endpoint::WindowKey, error::VerbsError};
use crate::limits::VERBS_REGION_BYTES_MAX;

/// Memory that no network card knows. It is what is left of a window that was closed, and what a new one can be made of.
#[derive(Debug)]
pub struct Memory {
    address: NonNull<u8>,
    bytes: usize,
}

/// Memory that only this node's own work requests touch: what is sent or written elsewhere, and where messages arrive. It has one
/// owner: whoever posts a work request gives it away, and gets it back with the completion.
#[derive(Debug)]
pub struct Buffer(Registration);

/// Memory that peers write into whenever they like, for as long as they have its key: so nothing of it can be borrowed, only copied, and
/// a copy may have parts of several of their writes.
#[derive(Debug)]
pub struct Window(Registration);

/// Memory that was not opened, with what is in it.
#[derive(Debug)]
pub struct Unopened {
    /// The memory, as it was.
    pub memory: Memory,
    /// The reason.
    pub error: VerbsError,
}

/// Memory that a device knows, until this is dropped.
#[derive(Debug)]
struct Registration {
    region: NonNull<ibv_mr>,
    /// `None` once it was given back.
    memory: Option<Memory>,
    /// Ends after the region.
    _domain: Domain,
}

// SAFETY: the memory belongs to this struct alone, wherever that is.
unsafe impl Send for Memory {}
// SAFETY: what is read through a shared borrow is copied by reads that the network card may overtake; it is written through an exclusive
// borrow only.
unsafe impl Sync for Memory {}
// SAFETY: libibverbs lets every thread call every function on one region, and the pointer is given away with its owner only.
unsafe impl Send for Registration {}
// SAFETY: the same; nothing here writes through the pointer.
unsafe impl Sync for Registration {}

// === impl Memory ===

impl Memory {
    /// So many bytes, all of them zero.
    ///
    /// # Errors
    /// None, or more than [`VERBS_REGION_BYTES_MAX`]; or the kernel gives none.
    pub fn new(bytes: usize) -> Result<Self, VerbsError> {
        if bytes == 0 || bytes > VERBS_REGION_BYTES_MAX {
            return Err(VerbsError::RegionSize { bytes });
        }
        let failed = |source: Errno| VerbsError::Map { bytes, source: source.into() };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is there.
        let address = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
        let address = NonNull::new(address.map_err(failed)?.cast()).expect("the kernel maps nothing at address 0 unasked");
        let memory = Self { address, bytes };
        // A child would make the card and this process write to different copies of a page.
        // SAFETY: the pages are this mapping's; what changes is only that children do not have them.
        unsafe { madvise(address.as_ptr().cast(), bytes, Advice::LinuxDontFork) }.map_err(failed)?;
        Ok(memory)
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies bytes out of it.
    ///
    /// # Errors
    /// [`VerbsError::OutOfRegion`].
    pub fn read(&self, offset: usize, destination: &mut [u8]) -> Result<(), VerbsError> {
        self.check(offset, destination.len())?;
        for (place, byte) in destination.iter_mut().enumerate() {
            // SAFETY: the offset was checked to lie in the mapping, which lives as long as this. A card that writes the byte meanwhile is
            // no thread of this program; volatile, it is read once and as it is then.
            *byte = unsafe { self.address.add(offset + place).read_volatile() };
        }
        Ok(())
    }

    /// Copies bytes into it.
    ///
    /// # Errors
    /// [`VerbsError::OutOfRegion`].
    pub fn write(&mut self, offset: usize, source: &[u8]) -> Result<(), VerbsError> {
        self.check(offset, source.len())?;
        for (place, byte) in source.iter().enumerate() {
            // SAFETY: as in `read`; and no thread reads it, for this borrow is exclusive.
            unsafe { self.address.add(offset + place).write_volatile(*byte) };
        }
        Ok(())
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<(), VerbsError> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        if inside { Ok(()) } else { Err(VerbsError::OutOfRegion { offset, bytes, region_bytes: self.bytes }) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, nothing borrows it any more, and no card knows it: a registration that could not be undone keeps
        // its memory for ever.
        let _result = unsafe { munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

// === impl Buffer ===

impl Buffer {
    /// A buffer of so many bytes, all of them zero.
    ///
    /// # Errors
    /// Those of [`Memory::new`]; or it cannot be registered: [`VerbsError::LockedMemory`] says what helps.
    pub fn new(domain: &Domain, bytes: usize) -> Result<Self, VerbsError> {
        let registered = Registration::new(domain, Memory::new(bytes)?, ibv_access_flags::IBV_ACCESS_LOCAL_WRITE);
        registered.map(Self).map_err(|unopened| unopened.error)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        let memory = self.0.memory();
        // SAFETY: the mapping lives as long as the buffer, and no card touches it: it has no key for peers, and while a work request
        // names it, it lies in the table of a queue pair, which never calls this.
        unsafe { slice::from_raw_parts(memory.address.as_ptr(), memory.bytes) }
    }

    /// Its bytes, to be changed.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let memory = self.0.memory();
        // SAFETY: as in `as_slice`, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(memory.address.as_ptr(), memory.bytes) }
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.memory().bytes
    }

    /// Where it is, as work requests name it.
    pub(super) fn address(&self) -> u64 {
        self.0.address()
    }

    /// Its key for this node's own work requests.
    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: the region is registered for as long as the buffer lives.
        unsafe { (*self.0.region.as_ptr()).lkey }
    }
}

// === impl Window ===

impl Window {
    /// Opens memory to the peers of a domain's queue pairs that are told [`Self::key`].
    ///
    /// # Errors
    /// It cannot be registered: [`VerbsError::LockedMemory`] says what helps. With the memory.
    pub fn open(domain: &Domain, memory: Memory) -> Result<Self, Unopened> {
        let access = ibv_access_flags::IBV_ACCESS_LOCAL_WRITE.0 | ibv_access_flags::IBV_ACCESS_REMOTE_WRITE.0;
        Registration::new(domain, memory, ibv_access_flags(access)).map(Self)
    }

    /// What a peer needs to write into it.
    #[must_use]
    pub fn key(&self) -> WindowKey {
        // SAFETY: the region is registered for as long as the window lives.
        let key = unsafe { (*self.0.region.as_ptr()).rkey };
        WindowKey { address: self.0.address(), bytes: self.0.memory().bytes as u64, key }
    }

    /// Copies bytes out of it, which may change meanwhile.
    ///
    /// # Errors
    /// [`VerbsError::OutOfRegion`].
    pub fn read(&self, offset: usize, destination: &mut [u8]) -> Result<(), VerbsError> {
        self.0.memory().read(offset, destination)
    }

    /// Copies bytes into it.
    ///
    /// # Errors
    /// [`VerbsError::OutOfRegion`].
    pub fn write(&mut self, offset: usize, source: &[u8]) -> Result<(), VerbsError> {
        self.0.memory.as_mut().expect(Registration::HELD).write(offset, source)
    }

    /// Closes it to all peers. When this returns its key opens nothing any more, and the memory is as they left it.
    ///
    /// # Errors
    /// The device keeps it: then the memory is never used for anything else.
    pub fn close(self) -> Result<Memory, VerbsError> {
        self.0.close()
    }
}

// === impl Registration ===

impl Registration {
    const HELD: &str = "the memory is given back only by what ends the registration";

    fn new(domain: &Domain, memory: Memory, access: ibv_access_flags) -> Result<Self, Unopened> {
        let access = i32::try_from(access.0).expect("the flags are small numbers");
        // SAFETY: the domain is there for as long as the clone that is kept, and the memory is mapped for as long as the region lives:
        // both are given up only when it is deregistered.
        let region = unsafe { ibv_reg_mr(domain.as_ptr(), memory.address.as_ptr().cast(), memory.bytes, access) };
        match NonNull::new(region) {
            Some(region) => Ok(Self { region, memory: Some(memory), _domain: domain.clone() }),
            None => {
                let error = refused(memory.bytes, io::Error::last_os_error());
                Err(Unopened { memory, error })
            }
        }
    }

    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect(Self::HELD)
    }

    fn address(&self) -> u64 {
        self.memory().address.as_ptr() as u64
    }

    fn close(mut self) -> Result<Memory, VerbsError> {
        self.deregister().map_err(VerbsError::Deregister)?;
        Ok(self.memory.take().expect(Self::HELD))
    }

    /// Ends the region; what it was of stays mapped for ever where that fails.
    fn deregister(&mut self) -> io::Result<()> {
        // SAFETY: the region was registered by `new`, and both callers end this struct with it.
        let answer = unsafe { ibv_dereg_mr(self.region.as_ptr()) };
        super::device::check(answer).inspect_err(|_| {
            let _kept = self.memory.take().map(ManuallyDrop::new);
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.memory.is_some() {
            let _kept_where_it_fails = self.deregister();
        }
    }
}

/// Why memory was not registered: most often it is the limit, and the kernel's error does not say so.
fn refused(bytes: usize, source: io::Error) -> VerbsError {
    let by_limit = [Errno::NOMEM, Errno::PERM].iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error()));
    match getrlimit(Resource::Memlock).current {
        Some(limit_bytes) if by_limit => VerbsError::LockedMemory { bytes, limit_bytes, source },
        _ => VerbsError::Register { bytes, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_written_and_not_beyond_its_end() {
        let mut memory = Memory::new(5000).unwrap();
        let mut read = [1; 3];
        memory.read(4997, &mut read).unwrap();
        assert_eq!(read, [0; 3]);
        memory.write(4996, &[7, 8, 9]).unwrap();
        memory.read(4997, &mut read).unwrap();
        assert_eq!(read, [8, 9, 0]);
        assert!(matches!(memory.write(4998, &[0; 3]), Err(VerbsError::OutOfRegion { offset: 4998, bytes: 3, region_bytes: 5000 })));
        assert!(matches!(memory.read(usize::MAX, &mut read), Err(VerbsError::OutOfRegion { .. })));
    }

    #[test]
    fn no_bytes_and_too_many_are_refused() {
        for bytes in [0, VERBS_REGION_BYTES_MAX + 1] {
            assert!(matches!(Memory::new(bytes), Err(VerbsError::RegionSize { .. })));
        }
    }

    #[test]
    fn a_limit_is_named_where_it_may_be_the_reason() {
        let limited = getrlimit(Resource::Memlock).current.is_some();
        let of = |errno: Errno| refused(4096, errno.into());
        assert_eq!(matches!(of(Errno::NOMEM), VerbsError::LockedMemory { .. }), limited);
        assert!(matches!(of(Errno::INVAL), VerbsError::Register { .. }));
    }
}
