//! Slots in 8 bits: unsigned bytes of the input times signed bytes of the weights, summed in 32 bits. The values are
//! float32 again behind each slot.
//!
//!   step = max(x) / 255                         of each sample, whose values are never negative
//!   y = step * (scale * step(w) * (w8 · x8) + step(m) * (m8 · x8)) + bias
//!
//! The matrix is made bytes of when it is read, with a step for each output channel. That is no finer than the one of the
//! frozen weights times the slot's scale, so both sums can be in one register: the frozen one is rounded to steps of the
//! matrix, which is less than what is lost at a single weight.
//!
//! With a basis the rows of `up · V` are made in float32 first: a product of bytes with V would round once more.

use super::aligned::{Buffer, room};
use super::dot::{self, CHANNELS, GROUP, LINE, Line, MOST_PIXELS, Piece, Tile};
use super::product::even_parts;
use super::winograd::floor;
use super::{Conv, Job, Numbers, Scratch, Slot};
use crate::failure::Failure;

/// The largest byte of an input, and of a matrix.
const MOST: f32 = 255.0;
const MOST_SIGNED: f32 = 127.0;
/// The step of a sample whose values are all zero, as `src/compiler/int8/ranges.ts` has it.
const LEAST_STEP: f32 = 1e-12;

/// Frozen weights in bytes.
pub struct Weights {
    /// Vectors of a panel.
    vectors: usize,
    /// `[panels, kernel height, kernel width * input / GROUP, vectors]`
    panels: Vec<Line>,
    /// What one is, by output channel.
    steps: Vec<f32>,
}

/// What one is in the bytes of a sample's input.
pub fn step(sample: &[f32]) -> f32 {
    let step = dot::largest(sample) / MOST;
    if step < LEAST_STEP { LEAST_STEP } else { step }
}

impl Weights {
    /// @param weights `[output, input, height, width]`
    pub fn new(conv: &Conv, weights: &[i8], steps: &[f32]) -> Result<Self, Failure> {
        if weights.len() != conv.weights() || steps.len() != conv.output {
            return Err(
                "the weights or their steps do not have the convolution's shape".to_owned(),
            );
        }
        if !conv.output.is_multiple_of(CHANNELS) || !conv.input.is_multiple_of(GROUP) {
            return Err(format!(
                "{} channels of the input are no multiple of {GROUP}, or {} of the output none of {CHANNELS}",
                conv.input, conv.output
            ));
        }
        let vectors = if conv.output.is_multiple_of(2 * CHANNELS) {
            2
        } else {
            1
        };
        let taps = conv.kernel[0] * conv.kernel[1];
        let depth = taps * conv.input / GROUP;
        let mut panels = vec![dot::ZEROS; conv.output / CHANNELS * depth];
        for (at, weight) in weights.iter().enumerate() {
            let (output, input, tap) = (at / taps / conv.input, at / taps % conv.input, at % taps);
            let (vector, channel) = (output / CHANNELS, output % CHANNELS);
            let number = tap * conv.input + input;
            let line = (vector / vectors * depth + number / GROUP) * vectors + vector % vectors;
            panels[line].0[channel * GROUP + number % GROUP] = *weight;
        }
        Ok(Self {
            vectors,
            panels,
            steps: steps.to_vec(),
        })
    }

    /// # Safety
    /// As `Slot::unit`, and the batch has a step for each sample.
    pub unsafe fn unit(&self, slot: &Slot, job: &Job<'_>, scratch: &mut Scratch) {
        let (conv, batch) = (&slot.conv, job.batch);
        let [height, width] = job.output;
        let most = job.share.cut.size;
        let per_sample = height.div_ceil(most);
        let (sample, part) = (job.share.unit / per_sample, job.share.unit % per_sample);
        let (from, to) = (part * most, ((part + 1) * most).min(height));
        let row = batch.rows[sample] as usize;
        let step = batch.steps[sample];
        let affine = row * batch.affine_length;
        for buffer in [
            &mut scratch.scales,
            &mut scratch.biases,
            &mut scratch.factors,
        ] {
            room(buffer, conv.output, 0.0);
        }
        room(&mut scratch.numbers, conv.input, 0.0);
        let channels = self.vectors * CHANNELS;
        if let Some(basis) = &slot.basis {
            room(&mut scratch.matrix, channels * basis.rank, 0.0);
            room(&mut scratch.projected, channels * basis.stride, 0.0);
        }
        let Scratch {
            matrix,
            projected,
            scales,
            biases,
            factors,
            numbers,
            bytes,
            lines,
            ..
        } = scratch;
        batch
            .affine
            .copy(affine + slot.scale, &mut scales[..conv.output]);
        batch
            .affine
            .copy(affine + slot.bias, &mut biases[..conv.output]);
        for (scale, step) in scales.iter_mut().zip(&self.steps) {
            *scale *= step;
        }
        let across = (batch.size[1] + conv.pads[1] + conv.pads[3]) * conv.input;
        let rows = (to - 1 - from) * conv.strides[0] + conv.kernel[0];
        pad(conv, job, sample, from * conv.strides[0], rows, bytes);

        let depth = conv.kernel[1] * conv.input / GROUP;
        let middle = conv.kernel.map(|size| (size - 1) / 2);
        if batch.matrix.is_some() {
            room(lines, conv.input / GROUP * self.vectors, dot::ZEROS);
        }
        for panel in 0..conv.output / channels {
            let first = panel * channels;
            let own = first..first + channels;
            let (scales, factors) = (&mut scales[own.clone()], &mut factors[own]);
            if let Some(bank) = batch.matrix {
                let start = (row * conv.output + first) * slot.columns();
                let rows = match &slot.basis {
                    None => Rows {
                        numbers: bank,
                        start,
                        stride: conv.input,
                    },
                    Some(basis) => {
                        let up = bank.single(start, &mut matrix[..channels * basis.rank]);
                        basis.multiply(up, basis.rank, channels, projected);
                        Rows {
                            numbers: Numbers::Single(projected),
                            start: 0,
                            stride: basis.stride,
                        }
                    }
                };
                let numbers = &mut numbers[..conv.input];
                pack_matrix(&rows, numbers, (scales, factors), lines);
            } else {
                factors.copy_from_slice(scales);
            }
            for factor in factors.iter_mut() {
                *factor *= step;
            }
            for y in from..to {
                for (start, end) in even_parts(width, MOST_PIXELS) {
                    let at = |row: usize, column: usize| {
                        let row = (y - from) * conv.strides[0] + row;
                        let column = start * conv.strides[1] + column;
                        bytes[row * across + column * conv.input..].as_ptr()
                    };
                    let into = ((sample * height + y) * width + start) * conv.output + first;
                    let tile = Tile {
                        stride: conv.strides[1] * conv.input,
                        frozen: Piece {
                            numbers: at(0, 0),
                            across,
                            height: conv.kernel[0],
                            depth,
                            panel: self.panels[panel * conv.kernel[0] * depth * self.vectors..]
                                .as_ptr(),
                        },
                        adapted: batch.matrix.map(|_| Piece {
                            numbers: at(middle[0], middle[1]),
                            across: 0,
                            height: 1,
                            depth: conv.input / GROUP,
                            panel: lines.as_ptr(),
                        }),
                        ratio: scales.as_ptr(),
                        factor: factors.as_ptr(),
                        bias: biases[first..].as_ptr(),
                        residual: batch
                            .residual
                            .map_or(std::ptr::null(), |residual| residual[into..].as_ptr()),
                        // SAFETY: within the output.
                        into: unsafe { job.target.0.add(into) },
                        channels: conv.output,
                        floor: floor(slot),
                    };
                    // SAFETY: the pieces lie in the padded input and in a panel; the output has these pixels.
                    unsafe { dot::tile(&tile, end - start, self.vectors) };
                }
            }
        }
    }
}

/// Rows of a matrix for the channels of one panel.
struct Rows<'a> {
    numbers: Numbers<'a>,
    /// Of the first row, and from there to the next.
    start: usize,
    stride: usize,
}

/// Makes bytes of the rows, `[input / GROUP, vectors]` lines.
///
/// @param scratch as long as a row
/// @param channels scales of the frozen sums, which become ratios to the matrix's; and the steps of the matrix
fn pack_matrix(
    rows: &Rows<'_>,
    scratch: &mut [f32],
    channels: (&mut [f32], &mut [f32]),
    lines: &mut [Line],
) {
    let depth = scratch.len();
    let stride = channels.0.len() / CHANNELS * LINE;
    let length = depth / GROUP * stride;
    assert!(lines.len() * LINE >= length);
    // SAFETY: lines are nothing but bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<i8>(), length) };
    for (channel, (scale, step)) in channels.0.iter_mut().zip(channels.1).enumerate() {
        let start = rows.start + channel * rows.stride;
        let numbers = rows.numbers.single(start, scratch);
        *step = (dot::largest(numbers) / MOST_SIGNED)
            .max(scale.abs())
            .max(f32::MIN_POSITIVE);
        *scale /= *step;
        dot::signed(numbers, 1.0 / *step, &mut bytes[channel * GROUP..], stride);
    }
}

/// Makes bytes of so many rows of the padded input, from row `first` of it on.
fn pad(
    conv: &Conv,
    job: &Job<'_>,
    sample: usize,
    first: usize,
    rows: usize,
    into: &mut Buffer<u8>,
) {
    let batch = job.batch;
    let [height, width] = batch.size;
    let [above, left, _, right] = conv.pads;
    let line = width * conv.input;
    let across = (left + width + right) * conv.input;
    let factor = 1.0 / batch.steps[sample];
    room(into, rows * across, 0);
    for (at, target) in into[..rows * across].chunks_exact_mut(across).enumerate() {
        let (start, end) = (left * conv.input, left * conv.input + line);
        // Above the image this wraps round, and is beyond its end.
        let y = (first + at).wrapping_sub(above);
        if y < height {
            target[..start].fill(0);
            let pixels = &batch.images[(sample * height + y) * line..][..line];
            dot::unsigned(pixels, factor, &mut target[start..end]);
            target[end..].fill(0);
        } else {
            target.fill(0);
        }
    }
}
