//! A domain's classifier, as it lies in memory.

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::failure::{Failure, text};
use crate::pool::{Piece, Pool};

/// A domain's classifier: biases `[classes]` in single precision, then weights `[classes, F]` in single or half
/// precision. Empty for a row without a head.
pub struct Head {
    /// Number of classes.
    pub classes: usize,
    features: usize,
    half: bool,
    memory: Piece,
}

impl Head {
    /// Takes memory for so many classes; `half` where the weights have half precision.
    pub fn reserve(
        pool: &Arc<Pool>,
        classes: usize,
        features: usize,
        half: bool,
    ) -> Result<Self, Failure> {
        let width = if half { 2 } else { 4 };
        let memory = pool.take(classes * (4 + features * width)).map_err(text)?;
        Ok(Self {
            classes,
            features,
            half,
            memory,
        })
    }

    /// The biases.
    pub fn biases(&self) -> &[f32] {
        numbers(&self.memory.get()[..4 * self.classes])
    }

    /// The weights of a class. Those in half precision are written to `wide`.
    pub fn weights<'a>(&'a self, class: usize, wide: &'a mut Vec<f32>) -> &'a [f32] {
        let weights = &self.memory.get()[4 * self.classes..];
        let range = class * self.features..(class + 1) * self.features;
        if !self.half {
            return &numbers(weights)[range];
        }
        wide.resize(self.features, 0.0);
        numbers::<f16>(weights)[range].convert_to_f32_slice(wide);
        wide
    }

    /// Writes bytes from byte `start` on.
    pub fn write(&mut self, start: usize, bytes: &[u8]) -> Result<(), Failure> {
        let memory = self.memory.get_mut();
        let length = memory.len();
        let target = memory
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        let target =
            target.ok_or_else(|| format!("{} bytes at {start} of {length}", bytes.len()))?;
        target.copy_from_slice(bytes);
        Ok(())
    }
}

/// Bytes as numbers of which every pattern of bits is one: `f32` or `f16`.
fn numbers<T: Copy>(bytes: &[u8]) -> &[T] {
    // SAFETY: every pattern of bits is a number.
    let (before, numbers, after) = unsafe { bytes.align_to::<T>() };
    assert!(before.is_empty() && after.is_empty(), "aligned");
    numbers
}
