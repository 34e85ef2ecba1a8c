//! The part of a slot's matrices that all domains share: `matrix = up · V`, with V `[rank, input]` in the graph and `up`
//! `[output, rank]` in the bank.
//!
//! Slots in float32 multiply V with their input, once for all channels of the output, and `up` with what comes of it. Slots
//! in 8 bits make the matrix's rows when they read it, and bytes of them.

use pulp::{Arch, Simd, WithSimd};

use super::aligned::Buffer;
use super::lanes;
use super::product::{Piece, add, even_parts, most_rows, store, with_rows};
use crate::failure::Failure;

/// Vectors of all panels but the last, which may have one.
const VECTORS: usize = 2;

/// V, ready to be multiplied with rows of numbers from the left.
pub struct Basis {
    /// Rows of V.
    pub rank: usize,
    /// Numbers of a row that comes out: whole vectors, behind the product's own numbers zeros.
    pub stride: usize,
    /// Numbers of a row that goes in.
    depth: usize,
    /// `[panels, depth, channels]`
    panels: Buffer<f32>,
}

impl Basis {
    /// What makes `V x` of pixels x.
    ///
    /// @param numbers V, `[rank, input]`
    pub fn of_pixels(input: usize, numbers: &[f32]) -> Result<Self, Failure> {
        let rank = rank(input, numbers)?;
        let number = |channel, row| numbers[row * input + channel];
        Ok(Self::pack(rank, [input, rank], number))
    }

    /// What makes a matrix's rows of `up`'s.
    ///
    /// @param numbers V, `[rank, input]`
    pub fn of_rows(input: usize, numbers: &[f32]) -> Result<Self, Failure> {
        let rank = rank(input, numbers)?;
        let number = |row, channel| numbers[row * input + channel];
        Ok(Self::pack(rank, [rank, input], number))
    }

    fn pack(rank: usize, shape: [usize; 2], number: impl Fn(usize, usize) -> f32) -> Self {
        let ([depth, columns], lanes) = (shape, lanes());
        let stride = columns.next_multiple_of(lanes);
        let most = VECTORS * lanes;
        let mut panels = Buffer::new(depth * stride, 0.0);
        for column in 0..columns {
            let first = column / most * most;
            let channels = most.min(stride - first);
            for at in 0..depth {
                panels[first * depth + at * channels + column - first] = number(at, column);
            }
        }
        Self {
            rank,
            stride,
            depth,
            panels,
        }
    }

    /// Multiplies so many rows of numbers, each `stride` behind the one before. Those that come out are `self.stride`
    /// apart.
    pub fn multiply(&self, numbers: &[f32], stride: usize, rows: usize, into: &mut [f32]) {
        assert!(rows > 0);
        Arch::new().dispatch(Multiply {
            basis: self,
            numbers: &numbers[..(rows - 1) * stride + self.depth],
            stride,
            rows,
            into: &mut into[..rows * self.stride],
        });
    }
}

fn rank(input: usize, numbers: &[f32]) -> Result<usize, Failure> {
    let rank = numbers.len().checked_div(input).unwrap_or(0);
    if rank == 0 || rank > input || !numbers.len().is_multiple_of(input) {
        return Err(format!(
            "a basis of {} numbers has not 1 to {input} rows of {input}",
            numbers.len()
        ));
    }
    Ok(rank)
}

struct Multiply<'a> {
    basis: &'a Basis,
    numbers: &'a [f32],
    stride: usize,
    rows: usize,
    into: &'a mut [f32],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Basis {
            stride,
            depth,
            ref panels,
            ..
        } = *self.basis;
        for first in (0..stride).step_by(VECTORS * S::F32_LANES) {
            for (from, to) in even_parts(self.rows, most_rows::<S>()) {
                let piece = Piece {
                    numbers: self.numbers[from * self.stride..].as_ptr(),
                    stride: self.stride,
                    panel: panels[first * depth..].as_ptr(),
                    depth,
                };
                let into = self.into[from * stride + first..].as_mut_ptr();
                // SAFETY: `multiply` took so many rows of either side, and a panel has one vector or two.
                unsafe {
                    if stride - first > S::F32_LANES {
                        with_rows!(to - from, S, 2, write, (simd, &piece, into, stride));
                    } else {
                        with_rows!(to - from, S, 1, write, (simd, &piece, into, stride));
                    }
                }
            }
        }
    }
}

/// # Safety
/// The piece has M rows and a panel of V vectors, and there is room for as many, `stride` apart.
#[inline(always)]
unsafe fn write<S: Simd, const M: usize, const V: usize>(
    simd: S,
    piece: &Piece,
    into: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = add::<S, M, V>(simd, [[simd.splat_f32s(0.0); V]; M], piece);
        for (m, row) in sums.into_iter().enumerate() {
            for (v, sum) in row.into_iter().enumerate() {
                store::<S>(into.add(m * stride + v * S::F32_LANES), sum);
            }
        }
    }
}
