//! One batch, as a lane runs it.

use crate::bank::Lease;

/// Memory of a JavaScript typed array, which its owner keeps; only read.
pub struct Borrowed<T> {
    start: *const T,
    length: usize,
}

/// The same, to be written.
pub struct BorrowedMut<T> {
    start: *mut T,
    length: usize,
}

// SAFETY: memory of an `ArrayBuffer` never moves and may be used in any thread. `Borrowed::new` says who keeps it.
unsafe impl<T: Sync> Send for Borrowed<T> {}

// SAFETY: the same; `BorrowedMut::new` says who keeps it.
unsafe impl<T: Send> Send for BorrowedMut<T> {}

impl<T> Borrowed<T> {
    /// # Safety
    /// Until this is dropped the array is neither freed nor detached, and written by nobody.
    pub unsafe fn new(array: &[T]) -> Self {
        Self {
            start: array.as_ptr(),
            length: array.len(),
        }
    }

    /// Its numbers.
    pub fn get(&self) -> &[T] {
        // SAFETY: the promise given to `new`.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl<T> BorrowedMut<T> {
    /// # Safety
    /// Until this is dropped the array is neither freed nor detached, and used by nobody else.
    pub unsafe fn new(array: &mut [T]) -> Self {
        Self {
            start: array.as_mut_ptr(),
            length: array.len(),
        }
    }

    /// Its numbers.
    pub fn get(&mut self) -> &mut [T] {
        // SAFETY: the promise given to `new`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

/// What is run, and where the answer goes.
pub struct Batch {
    /// `[N, H, W, 3]`
    pub pixels: Borrowed<u8>,
    /// The bank row of each sample.
    pub samples: Vec<i64>,
    /// Images of the run, at least as many: a device prepares for each new size, so there are to be few.
    pub size: usize,
    /// Keeps those rows.
    pub lease: Lease,
    /// `[N, F]`, written.
    pub features: BorrowedMut<f32>,
    /// The logits of each sample, one sample after the other; written.
    pub logits: BorrowedMut<f32>,
    /// The graph for batches of one domain runs it, if there is one.
    pub single: bool,
}
