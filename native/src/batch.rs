//! One batch, as a lane runs it.

use crate::bank::Lease;

/// Memory of a JavaScript typed array, which its owner keeps.
pub struct Borrowed<T> {
    start: *mut T,
    length: usize,
}

// SAFETY: memory of an `ArrayBuffer` never moves and may be used in any thread. `Borrowed::new` says who keeps it.
unsafe impl<T: Send> Send for Borrowed<T> {}

impl<T> Borrowed<T> {
    /// # Safety
    /// Until this is dropped the array is neither freed nor detached, and used by nobody else.
    pub unsafe fn new(array: &[T]) -> Self {
        Self {
            start: array.as_ptr().cast_mut(),
            length: array.len(),
        }
    }

    /// Its numbers.
    pub fn get(&mut self) -> &mut [T] {
        if self.length == 0 {
            return &mut [];
        }
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
    /// Keeps those rows.
    pub lease: Lease,
    /// `[N, F]`, written.
    pub features: Borrowed<f32>,
    /// The logits of each sample, one sample after the other; written.
    pub logits: Borrowed<f32>,
    /// The graph for batches of one domain runs it, if there is one.
    pub single: bool,
}
