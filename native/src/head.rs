//! A domain's classifier, as it lies in memory.

use crate::failure::{Failure, text};
use crate::region::Region;

/// A domain's classifier: weights `[classes, F]`, then biases `[classes]`. Empty for a row without a head.
pub struct Head {
    /// Number of classes.
    pub classes: usize,
    values: Region,
}

impl Head {
    /// Takes memory for so many classes.
    pub fn reserve(classes: usize, features: usize) -> Result<Self, Failure> {
        let values = Region::reserve(4 * classes * (features + 1)).map_err(text)?;
        Ok(Self { classes, values })
    }

    /// Weights and biases, one after the other.
    pub fn values(&self) -> &[f32] {
        // SAFETY: the region is aligned, zeroed at first and as long as it says; it is written through `&mut self` only.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr().cast(), self.values.len() / 4) }
    }

    /// Writes numbers from element `start` on.
    pub fn write(&mut self, start: usize, numbers: &[f32]) -> Result<(), Failure> {
        let length = self.values.len() / 4;
        if start
            .checked_add(numbers.len())
            .is_none_or(|end| end > length)
        {
            return Err(format!("{} numbers at {start} of {length}", numbers.len()));
        }
        // SAFETY: within the region, as just checked, and nobody else has it while it is borrowed mutably.
        unsafe {
            let target = self.values.as_ptr().cast::<f32>().add(start);
            std::ptr::copy_nonoverlapping(numbers.as_ptr(), target, numbers.len());
        }
        Ok(())
    }
}
