//! Buffers that begin where a cache line does.
//!
//! A vector of AVX-512 is as long as a cache line. In memory that only `malloc` has placed, each of them lies across two
//! lines, and is read twice (docs/experiments/2026-11-28-aligned-buffers.md).

use std::ops::{Deref, DerefMut};

use aligned_vec::{AVec, ConstAlign};

/// Bytes of a cache line.
pub const CACHE_LINE: usize = 64;

/// Numbers, of which the first is at a multiple of `CACHE_LINE`, wherever growing moves them.
pub struct Buffer<T>(AVec<T, ConstAlign<CACHE_LINE>>);

impl<T: Copy> Buffer<T> {
    /// So many times this number.
    pub fn new(length: usize, number: T) -> Self {
        let mut buffer = Self::default();
        room(&mut buffer, length, number);
        buffer
    }
}

/// A buffer has at least so many numbers from now on.
///
/// @param number what is put behind those that it has
pub fn room<T: Copy>(buffer: &mut Buffer<T>, length: usize, number: T) {
    if buffer.len() < length {
        buffer.0.resize(length, number);
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self(AVec::new(CACHE_LINE))
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
