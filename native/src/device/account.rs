//! How much memory a session has taken of its device, and how much it may: the trunk, the adapters' rows, and what runs
//! need.

use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::AsPointer;
use ort::memory::Allocator;

use crate::failure::{Failure, text};

/// The memory of one session.
pub struct Account {
    allocator: Mutex<Allocator>,
    limit: Option<u64>,
    /// Padded sizes of batches that were run: only a new one can take more.
    seen: Mutex<Vec<usize>>,
}

impl Account {
    /// What this allocator hands out, and at most so many bytes of it.
    pub fn new(allocator: Allocator, limit: Option<u64>) -> Self {
        Self {
            allocator: Mutex::new(allocator),
            limit,
            seen: Mutex::default(),
        }
    }

    /// The allocator. No two threads have it at once: the crate does not promise that they could.
    pub fn allocator(&self) -> MutexGuard<'_, Allocator> {
        self.allocator
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that were taken of the device, those that are free for further runs among them.
    pub fn taken(&self) -> Result<u64, Failure> {
        let allocator = self.allocator();
        let api = ort::api();
        let mut pairs = ptr::null_mut();
        // SAFETY: the allocator lives until the calls return, the status is read once, and the text that is read belongs
        // to the pairs, which are released afterwards.
        let total = unsafe {
            ort::Error::result_from_status((api.AllocatorGetStats)(allocator.ptr(), &mut pairs))
                .map_err(text)?;
            let value = (api.GetKeyValue)(pairs, c"TotalAllocated".as_ptr());
            let total = (!value.is_null())
                .then(|| std::ffi::CStr::from_ptr(value).to_string_lossy().parse());
            (api.ReleaseKeyValuePairs)(pairs);
            total
        };
        total
            .unwrap_or(Ok(0))
            .map_err(|error: std::num::ParseIntError| text(error))
    }

    /// Whether rows of so many bytes fit beside the trunk, which is open.
    pub fn admit(&self, rows: u64) -> Result<(), Failure> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let trunk = self.taken()?;
        if trunk + rows <= limit {
            return Ok(());
        }
        Err(format!(
            "--gpu-memory {} is too little: the trunk takes {}, and the rows of adapters {} (--bank-memory), before anything has run",
            shown(limit),
            shown(trunk),
            shown(rows)
        ))
    }

    /// Whether what has been taken is within the limit, after a run of so many images. CUDA's own limit is the same, and
    /// refuses at once.
    pub fn check(&self, images: usize) -> Result<(), Failure> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&images) {
            return Ok(());
        }
        let taken = self.taken()?;
        if taken > limit {
            return Err(format!(
                "out of memory: trunk, rows of adapters and a batch of {images} take {}, and --gpu-memory is {}",
                shown(taken),
                shown(limit)
            ));
        }
        seen.push(images);
        Ok(())
    }
}

/// Bytes as people read them.
pub fn shown(bytes: u64) -> String {
    format!("{:.1}MiB", bytes as f64 / (1 << 20) as f64)
}
