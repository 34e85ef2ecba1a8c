//! What a run of a slot is given.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Slot;
use crate::failure::Failure;

/// A convolution of one group, not dilated.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Channels of the input.
    pub input: usize,
    /// Channels of the output.
    pub output: usize,
    /// Height and width.
    pub kernel: [usize; 2],
    /// Per axis.
    pub strides: [usize; 2],
    /// Zeros in front of each axis, then behind each.
    pub pads: [usize; 4],
}

impl Conv {
    /// Height and width of the output; None where the kernel does not fit into the input.
    pub fn size(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let padded = size[axis] + self.pads[axis] + self.pads[axis + 2];
            Some(padded.checked_sub(self.kernel[axis])? / self.strides[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// Numbers of its weights.
    pub fn weights(&self) -> usize {
        self.output * self.input * self.kernel[0] * self.kernel[1]
    }
}

/// Numbers of the bank.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// In single precision.
    Single(&'a [f32]),
    /// In half precision.
    Half(&'a [f16]),
}

impl Numbers<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Numbers::Single(numbers) => numbers.len(),
            Numbers::Half(numbers) => numbers.len(),
        }
    }

    /// Fills `into` with the numbers from `start` on.
    pub fn copy(&self, start: usize, into: &mut [f32]) {
        match self {
            Numbers::Single(numbers) => into.copy_from_slice(&numbers[start..][..into.len()]),
            Numbers::Half(numbers) => numbers[start..][..into.len()].convert_to_f32_slice(into),
        }
    }

    /// The numbers from `start` on, in single precision: as they are, or in `scratch`, which has their length.
    pub fn single<'b>(&'b self, start: usize, scratch: &'b mut [f32]) -> &'b [f32] {
        match self {
            Numbers::Single(numbers) => &numbers[start..][..scratch.len()],
            Numbers::Half(_) => {
                self.copy(start, scratch);
                scratch
            }
        }
    }
}

/// What a run of a slot reads.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Height and width of an image.
    pub size: [usize; 2],
    /// `[N, H, W, input]`
    pub images: &'a [f32],
    /// The bank row of each sample.
    pub rows: &'a [i64],
    /// `[R, A]`
    pub affine: Numbers<'a>,
    /// A.
    pub affine_length: usize,
    /// `[R, output, input]`, for a slot that takes a matrix; `up`, `[R, output, rank]`, for one with a basis.
    pub matrix: Option<Numbers<'a>>,
    /// As the output; added to it.
    pub residual: Option<&'a [f32]>,
    /// Of each sample, what one is in its input's bytes (`Slot::steps`); empty for a slot in float32.
    pub steps: &'a [f32],
}

impl Slot {
    /// Height and width of the output, where the batch has the lengths that it must have, and its rows are in the bank.
    pub fn check(
        &self,
        batch: &Batch<'_>,
        samples: usize,
        channels: usize,
    ) -> Result<[usize; 2], Failure> {
        let Conv { input, output, .. } = self.conv;
        let size = self
            .conv
            .size(batch.size)
            .ok_or("the images are smaller than the kernel")?;
        let matrices = match &self.basis {
            None => "matrices".to_owned(),
            Some(_) if batch.matrix.is_none() => {
                return Err("there are no matrices for the slot's basis".to_owned());
            }
            Some(basis) => format!("matrices for a basis of {} rows", basis.rank),
        };
        let rows = batch.affine.len() / batch.affine_length.max(1);
        let found = [
            channels == input,
            batch.rows.len() == samples,
            batch
                .rows
                .iter()
                .all(|row| usize::try_from(*row).is_ok_and(|row| row < rows)),
            batch.images.len() == samples * batch.size[0] * batch.size[1] * input,
            batch.affine_length >= self.scale.max(self.bias) + output,
            batch.affine.len() == rows * batch.affine_length,
            batch
                .matrix
                .is_none_or(|matrix| matrix.len() == rows * output * self.columns()),
            batch
                .residual
                .is_none_or(|residual| residual.len() == samples * size[0] * size[1] * output),
        ];
        let names = [
            "channels",
            "samples",
            "rows",
            "images",
            "affine row",
            "affine rows",
            &matrices,
            "residual",
        ];
        match found.iter().position(|right| !right) {
            Some(at) => Err(format!("{} do not fit the slot", names[at])),
            None => Ok(size),
        }
    }
}
