//! Kernels of any size and stride, by the formula: for each row of a kernel, the pixels under it lie one after the other
//! and are one piece of the product.

use pulp::Simd;

use super::aligned::{Buffer, room};
use super::product::{Piece, Product, even_parts, load, most_rows, store, with_rows};
use super::winograd::floor;
use super::{Batch, Conv, Cut, Scratch, Share, Slot, Target, UNITS_A_HAND, pack_matrix};

/// Numbers of the padded input of one unit of work, and of the basis times it, at most where that is possible.
const UNIT_NUMBERS: usize = 1 << 16;

/// Frozen weights, `[panels, kernel height, kernel width, input, channels]`.
pub fn pack(conv: &Conv, weights: &[f32], channels: usize) -> Buffer<f32> {
    let taps = conv.kernel[0] * conv.kernel[1];
    let mut panels = Buffer::new(conv.output * conv.input * taps, 0.0);
    for output in 0..conv.output {
        let (panel, column) = (output / channels, output % channels);
        for input in 0..conv.input {
            for tap in 0..taps {
                let number = weights[(output * conv.input + input) * taps + tap];
                panels[((panel * taps + tap) * conv.input + input) * channels + column] = number;
            }
        }
    }
    panels
}

/// Output rows of one unit of work.
fn unit_rows(slot: &Slot, width: usize, output: [usize; 2]) -> usize {
    let conv = &slot.conv;
    let row = (width + conv.pads[1] + conv.pads[3]) * conv.input;
    let projected = slot.basis.as_ref().map_or(0, |basis| basis.stride) * output[1];
    let more = UNIT_NUMBERS.saturating_sub(conv.kernel[0] * row);
    (more / (conv.strides[0] * row + projected) + 1).min(output[0])
}

/// A unit is some rows of one sample's output.
pub fn cut(slot: &Slot, batch: &Batch<'_>, output: [usize; 2], hands: usize) -> Cut {
    let samples = batch.rows.len().max(1);
    let most = unit_rows(slot, batch.size[1], output);
    let size = match hands {
        1 => most,
        _ => most.min(
            output[0]
                .div_ceil((UNITS_A_HAND * hands).div_ceil(samples))
                .max(1),
        ),
    };
    Cut {
        units: batch.rows.len() * output[0].div_ceil(size),
        size,
        groups: 1,
    }
}

/// # Safety
/// As `Slot::unit`.
#[inline(always)]
pub unsafe fn unit<S: Simd, const V: usize>(
    simd: S,
    slot: &Slot,
    batch: &Batch<'_>,
    output: [usize; 2],
    target: Target,
    share: Share,
    scratch: &mut Scratch,
) {
    let Share { cut, unit } = share;
    let conv = &slot.conv;
    let [height, width] = output;
    let most = cut.size;
    let per_sample = height.div_ceil(most);
    let (sample, part) = (unit / per_sample, unit % per_sample);
    let (from, to) = (part * most, ((part + 1) * most).min(height));
    let row = batch.rows[sample] as usize;
    let channels = V * S::F32_LANES;
    let columns = slot.columns();
    room(&mut scratch.matrix, columns * channels, 0.0);
    room(&mut scratch.numbers, columns, 0.0);
    room(&mut scratch.scales, conv.output, 0.0);
    room(&mut scratch.biases, conv.output, 0.0);
    let Scratch {
        sums: padded,
        matrix,
        projected,
        scales,
        biases,
        numbers,
        ..
    } = scratch;
    batch.affine.copy(
        row * batch.affine_length + slot.scale,
        &mut scales[..conv.output],
    );
    batch.affine.copy(
        row * batch.affine_length + slot.bias,
        &mut biases[..conv.output],
    );
    let across = (batch.size[1] + conv.pads[1] + conv.pads[3]) * conv.input;
    pad(
        conv,
        batch,
        sample,
        from * conv.strides[0],
        (to - 1 - from) * conv.strides[0] + conv.kernel[0],
        padded,
    );
    let piece_depth = conv.kernel[1] * conv.input;
    let apart = conv.strides[1] * conv.input;
    // The input from the first output pixel of a row on, under one place of the kernel.
    let under = |y: usize, row: usize, column: usize| {
        let row = (y - from) * conv.strides[0] + row;
        &padded[row * across + column * conv.input..]
    };
    let middle = |y: usize| under(y, (conv.kernel[0] - 1) / 2, (conv.kernel[1] - 1) / 2);
    if let Some(basis) = &slot.basis {
        let line = width * basis.stride;
        room(projected, (to - from) * line, 0.0);
        for (y, into) in (from..to).zip(projected.chunks_exact_mut(line)) {
            basis.multiply(middle(y), apart, width, into);
        }
    }
    let mut frozen = Vec::with_capacity(conv.kernel[0]);
    for panel in 0..conv.output / channels {
        let first = panel * channels;
        if let Some(bank) = &batch.matrix {
            let start = (row * conv.output + first) * columns;
            pack_matrix(bank, start, channels, &mut numbers[..columns], matrix);
        }
        let weights = slot.panels[first * conv.kernel[0] * piece_depth..].as_ptr();
        for y in from..to {
            for (start, end) in even_parts(width, most_rows::<S>()) {
                frozen.clear();
                frozen.extend((0..conv.kernel[0]).map(|row| Piece {
                    numbers: under(y, row, 0)[start * apart..].as_ptr(),
                    stride: apart,
                    // SAFETY: within the panel.
                    panel: unsafe { weights.add(row * piece_depth * channels) },
                    depth: piece_depth,
                }));
                let (numbers, stride) = match &slot.basis {
                    None => (middle(y), apart),
                    Some(basis) => (
                        &projected[(y - from) * width * basis.stride..],
                        basis.stride,
                    ),
                };
                let adapted = batch.matrix.map(|_| Piece {
                    numbers: numbers[start * stride..].as_ptr(),
                    stride,
                    panel: matrix.as_ptr(),
                    depth: columns,
                });
                let product = Product {
                    frozen: &frozen,
                    scale: scales[first..].as_ptr(),
                    adapted: adapted.map(|piece| (piece, 1.0)),
                };
                let bias = biases[first..].as_ptr();
                let into = ((sample * height + y) * width + start) * conv.output + first;
                let give = Give {
                    slot,
                    residual: batch.residual,
                    target,
                    into,
                    bias,
                };
                // SAFETY: the pieces lie in the padded input and in a panel; the output has these pixels.
                unsafe { with_rows!(end - start, S, V, multiply, (simd, &product, &give)) };
            }
        }
    }
}

/// Where the sums of a row of pixels go.
struct Give<'a> {
    slot: &'a Slot,
    residual: Option<&'a [f32]>,
    target: Target,
    /// Of the first pixel's first channel.
    into: usize,
    bias: *const f32,
}

/// # Safety
/// As `Product::sums`, and the output has M pixels there.
#[inline(always)]
unsafe fn multiply<S: Simd, const M: usize, const V: usize>(
    simd: S,
    product: &Product<'_>,
    give: &Give<'_>,
) {
    let residual = give.residual.map_or(std::ptr::null(), <[f32]>::as_ptr);
    let floor = simd.splat_f32s(floor(give.slot));
    // SAFETY: the caller's promise; the residual is as large as the output.
    unsafe {
        let sums = product.sums::<S, M, V>(simd);
        for (m, row) in sums.into_iter().enumerate() {
            for (v, sum) in row.into_iter().enumerate() {
                let channel = v * S::F32_LANES;
                let at = give.into + m * give.slot.conv.output + channel;
                let mut value = simd.add_f32s(sum, load::<S>(give.bias.add(channel)));
                if !residual.is_null() {
                    value = simd.add_f32s(value, load::<S>(residual.add(at)));
                }
                store::<S>(give.target.0.add(at), simd.max_f32s(floor, value));
            }
        }
    }
}

/// Copies so many rows of the padded input, from row `first` of it on.
fn pad(
    conv: &Conv,
    batch: &Batch<'_>,
    sample: usize,
    first: usize,
    rows: usize,
    into: &mut Buffer<f32>,
) {
    let [height, width] = batch.size;
    let [above, left, _, right] = conv.pads;
    let line = width * conv.input;
    let across = (left + width + right) * conv.input;
    room(into, rows * across, 0.0);
    for (at, target) in into[..rows * across].chunks_exact_mut(across).enumerate() {
        let (start, end) = (left * conv.input, left * conv.input + line);
        // Above the image this wraps round, and is beyond its end.
        let y = (first + at).wrapping_sub(above);
        if y < height {
            target[..start].fill(0.0);
            target[start..end]
                .copy_from_slice(&batch.images[(sample * height + y) * line..][..line]);
            target[end..].fill(0.0);
        } else {
            target.fill(0.0);
        }
    }
}
