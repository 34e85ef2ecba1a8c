//! A slot as one operator: `y = scale * conv(x) + matrix · v + bias` for samples of any domains, with the sum of a
//! residual and the Relu behind it (docs/decisions/0025-an-operator-for-slots.md).
//!
//! Scale, bias and matrix are read from the bank where they lie, by each sample's row. Images are `[N, H, W, C]`. Nothing
//! of a slot goes through memory but its input and its output: the products stay in the caches, piece by piece.
//!
//! | file | what it is for |
//! |---|---|
//! | `winograd.rs` | 3x3 kernels that move by one pixel, with 4 products where the formula has 9 |
//! | `tiles.rs` | what pixels become there, and what becomes pixels |
//! | `direct.rs` | all other kernels |
//! | `product.rs` | the inner loop of both |
//! | `basis.rs` | the part of the matrices that all domains share |
//! | `bytes.rs` | kernels in 8 bits |
//! | `dot.rs`, `vnni.rs` | their inner loops, and those for processors with VNNI |
//! | `batch.rs` | what a run is given |
//! | `aligned.rs` | the buffers of all of them |
//! | `turn.rs` | images with their channels last, and back |
//! | `operator.rs`, `node.rs`, `value.rs` | the operators as ONNX Runtime knows them, what they do at a node, and its values |

// Rows and columns of small matrices are numbered as in the formulas.
#![allow(clippy::needless_range_loop)]

mod aligned;
mod basis;
mod batch;
mod bytes;
mod direct;
mod dot;
mod node;
pub mod operator;
mod product;
mod tiles;
mod turn;
mod value;
#[cfg(target_arch = "x86_64")]
mod vnni;
mod winograd;

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};

pub use batch::{Batch, Conv, Numbers};

use crate::failure::Failure;
use aligned::Buffer;
use basis::Basis;

/// Whether the processor has vectors.
pub fn fast() -> bool {
    lanes() > 1
}

/// Whether it also has what slots in 8 bits are made of.
pub fn fast_in_bytes() -> bool {
    dot::available()
}

/// Numbers of one of the processor's vectors.
fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    Arch::new().dispatch(Lanes)
}

/// Where the output goes.
#[derive(Clone, Copy)]
pub struct Target(pub *mut f32);

// SAFETY: units of work write different numbers (`Slot::unit`).
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// Units of work for each thread that takes part: with more of them than threads, one that comes late still finds some.
const UNITS_A_HAND: usize = 2;

/// How a batch's work is cut into units.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// How many there are.
    pub units: usize,
    /// Tiles or rows of the output in each, at most.
    size: usize,
    /// Units that have the same tiles, and different channels.
    groups: usize,
}

/// One of the units that a batch's work was cut into.
#[derive(Clone, Copy)]
struct Share {
    cut: Cut,
    unit: usize,
}

/// What a unit of work is done with.
struct Job<'a> {
    batch: &'a Batch<'a>,
    /// Height and width of the output.
    output: [usize; 2],
    target: Target,
    share: Share,
}

/// A slot, ready to run.
pub struct Slot {
    conv: Conv,
    /// Where the slot's scales and biases begin in the affine row.
    scale: usize,
    bias: usize,
    relu: bool,
    /// Whether the slot runs by `winograd.rs`.
    winograd: bool,
    /// Vectors of a panel.
    vectors: usize,
    /// The frozen weights in panels of so many channels, as the algorithm wants them.
    panels: Buffer<f32>,
    /// What all domains' matrices share, where they share something.
    basis: Option<Basis>,
    /// The weights of a slot in 8 bits, which has no others.
    bytes: Option<bytes::Weights>,
}

/// The part of a node that does not depend on what the weights are.
pub struct Plan<'a> {
    /// The frozen convolution.
    pub conv: Conv,
    /// Where the slot's scales begin in the affine row.
    pub scale: usize,
    /// The same for biases.
    pub bias: usize,
    /// Whether a Relu follows.
    pub relu: bool,
    /// V, `[rank, input]`, for a slot whose matrices are `up · V`.
    pub basis: Option<&'a [f32]>,
}

impl Slot {
    /// @param weights `[output, input, height, width]`
    pub fn new(plan: Plan<'_>, weights: &[f32]) -> Result<Self, Failure> {
        Arch::new().dispatch(Making { plan, weights })
    }

    /// The same in 8 bits, on a processor that has what `bytes.rs` needs.
    ///
    /// @param weights `[output, input, height, width]`
    /// @param steps what one is in the weights of each output channel
    pub fn in_bytes(plan: Plan<'_>, weights: &[i8], steps: &[f32]) -> Result<Self, Failure> {
        let bytes = bytes::Weights::new(&plan.conv, weights, steps)?;
        let Plan {
            conv,
            scale,
            bias,
            relu,
            basis,
        } = plan;
        let basis = basis
            .map(|basis| Basis::of_rows(conv.input, basis))
            .transpose()?;
        Ok(Self {
            conv,
            scale,
            bias,
            relu,
            winograd: false,
            vectors: 0,
            panels: Buffer::default(),
            basis,
            bytes: Some(bytes),
        })
    }

    /// Numbers of a row of what the bank has in place of a matrix: `up`'s, or the matrix's own.
    fn columns(&self) -> usize {
        self.basis
            .as_ref()
            .map_or(self.conv.input, |basis| basis.rank)
    }

    /// What one is in the bytes of each sample's input: no number where the input has none. Empty for a slot in float32.
    pub fn steps(&self, batch: &Batch<'_>) -> Vec<f32> {
        let sample = batch.size[0] * batch.size[1] * self.conv.input;
        match &self.bytes {
            None => Vec::new(),
            Some(_) => batch.images.chunks_exact(sample).map(bytes::step).collect(),
        }
    }

    /// How a batch is cut into units of work for so many threads.
    pub fn cut(&self, batch: &Batch<'_>, output: [usize; 2], hands: usize) -> Cut {
        if self.winograd {
            let panels = self.conv.output / (self.vectors * lanes());
            winograd::cut(&self.conv, panels, batch.rows.len(), output, hands)
        } else {
            direct::cut(self, batch, output, hands)
        }
    }

    /// Does one unit of the work, of those that `cut` made. Different units write different parts of the output.
    ///
    /// # Safety
    /// The batch's slices have the lengths that its sizes say, its rows are in the bank, and the target has room for the
    /// output.
    pub unsafe fn unit(
        &self,
        batch: &Batch<'_>,
        output: [usize; 2],
        target: Target,
        cut: Cut,
        unit: usize,
    ) {
        let share = Share { cut, unit };
        SCRATCH.with_borrow_mut(|scratch| match &self.bytes {
            // SAFETY: the caller's promise.
            Some(weights) => unsafe {
                weights.unit(
                    self,
                    &Job {
                        batch,
                        output,
                        target,
                        share,
                    },
                    scratch,
                );
            },
            None => Arch::new().dispatch(Unit {
                slot: self,
                batch,
                output,
                target,
                share,
                scratch,
            }),
        });
    }
}

/// Buffers of a thread, which a unit of work fills before it reads them.
#[derive(Default)]
struct Scratch {
    /// Transformed tiles, or the padded input.
    sums: Buffer<f32>,
    /// Products of transformed tiles.
    products: Buffer<f32>,
    /// A domain's matrix for one panel, `[columns, channels]`.
    matrix: Buffer<f32>,
    /// What the basis makes: of the input, or in 8 bits the rows of a panel's matrix.
    projected: Buffer<f32>,
    /// `[samples of the unit, output]` each.
    scales: Buffer<f32>,
    biases: Buffer<f32>,
    /// What sums of bytes are multiplied by, `[output]`.
    factors: Buffer<f32>,
    /// A pixel outside of the image.
    zeros: Buffer<f32>,
    /// One row of a matrix.
    numbers: Buffer<f32>,
    /// The padded input of a slot in 8 bits.
    bytes: Buffer<u8>,
    /// `matrix` of such a slot.
    lines: Buffer<dot::Line>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

struct Making<'a> {
    plan: Plan<'a>,
    weights: &'a [f32],
}

impl WithSimd for Making<'_> {
    type Output = Result<Slot, Failure>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Plan {
            conv,
            scale,
            bias,
            relu,
            basis,
        } = self.plan;
        let lanes = S::F32_LANES;
        if self.weights.len() != conv.weights() {
            return Err("the weights do not have the convolution's shape".to_owned());
        }
        if !conv.output.is_multiple_of(lanes) {
            return Err(format!(
                "{} channels are no whole vectors of {lanes}",
                conv.output
            ));
        }
        let vectors = if conv.output.is_multiple_of(2 * lanes) {
            2
        } else {
            1
        };
        let winograd = winograd::fits(&conv, lanes);
        let pack = if winograd {
            winograd::pack
        } else {
            direct::pack
        };
        let panels = pack(&conv, self.weights, vectors * lanes);
        let basis = basis
            .map(|basis| Basis::of_pixels(conv.input, basis))
            .transpose()?;
        Ok(Slot {
            conv,
            scale,
            bias,
            relu,
            winograd,
            vectors,
            panels,
            basis,
            bytes: None,
        })
    }
}

struct Unit<'a> {
    slot: &'a Slot,
    batch: &'a Batch<'a>,
    output: [usize; 2],
    target: Target,
    share: Share,
    scratch: &'a mut Scratch,
}

impl WithSimd for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Unit {
            slot,
            batch,
            output,
            target,
            share,
            scratch,
        } = self;
        // SAFETY: the promise given to `Slot::unit`.
        unsafe {
            match (slot.winograd, slot.vectors) {
                (true, 2) => {
                    winograd::unit::<S, 2>(simd, slot, batch, output, target, share, scratch)
                }
                (true, _) => {
                    winograd::unit::<S, 1>(simd, slot, batch, output, target, share, scratch)
                }
                (false, 2) => {
                    direct::unit::<S, 2>(simd, slot, batch, output, target, share, scratch)
                }
                (false, _) => {
                    direct::unit::<S, 1>(simd, slot, batch, output, target, share, scratch)
                }
            }
        }
    }
}

/// Writes the columns of a part of a matrix: `[columns, channels]`.
///
/// @param start of the part's rows in the bank, one for each channel
/// @param scratch as long as one of them
fn pack_matrix(
    matrix: &Numbers<'_>,
    start: usize,
    channels: usize,
    scratch: &mut [f32],
    panel: &mut [f32],
) {
    let columns = scratch.len();
    let panel = &mut panel[..columns * channels];
    for channel in 0..channels {
        let numbers = matrix.single(start + channel * columns, scratch);
        for (at, number) in numbers.iter().enumerate() {
            // SAFETY: the panel has so many channels for each number, as just sliced.
            unsafe { *panel.get_unchecked_mut(at * channels + channel) = *number };
        }
    }
}

#[cfg(test)]
mod tests;
