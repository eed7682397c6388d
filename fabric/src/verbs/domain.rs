//! Protection domains.

use std::{io, ptr::NonNull, sync::Arc};

use rdma_sys::{ibv_alloc_pd, ibv_dealloc_pd, ibv_pd};

use super::{device::Device, error::VerbsError};

/// What belongs together on a device: a key of one domain opens nothing to a queue pair of another. Clones are the same one; it ends
/// with the last of them and of all that was made in it.
#[derive(Debug, Clone)]
pub struct Domain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    domain: NonNull<ibv_pd>,
    /// Closed after the domain.
    device: Device,
}

// SAFETY: libibverbs lets every thread call every function on one domain, and the pointer is given away with its owner only.
unsafe impl Send for Inner {}
// SAFETY: the same; nothing here writes through the pointer.
unsafe impl Sync for Inner {}

impl Domain {
    /// A new domain on a device.
    ///
    /// # Errors
    /// [`VerbsError::Domain`].
    pub fn new(device: &Device) -> Result<Self, VerbsError> {
        // SAFETY: the context is open for as long as the device lives, a clone of which is kept.
        let domain = unsafe { ibv_alloc_pd(device.context()) };
        let domain = NonNull::new(domain).ok_or_else(|| VerbsError::Domain(io::Error::last_os_error()))?;
        Ok(Self(Arc::new(Inner { domain, device: device.clone() })))
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    pub(super) fn as_ptr(&self) -> *mut ibv_pd {
        self.0.domain.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and ends nowhere else; what was made in it has a clone of it, and so is gone.
        let _answer = unsafe { ibv_dealloc_pd(self.domain.as_ptr()) };
    }
}
