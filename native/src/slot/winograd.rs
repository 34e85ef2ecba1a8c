//! 3x3 kernels that move by one pixel, by Winograd's F(2x2, 3x3) (Lavin and Gray, 2016): of each tile of 4x4 input
//! pixels 16 sums are made, of which each is multiplied with one transformed weight instead of nine, and four output
//! pixels come of them.
//!
//! A domain's matrix is a kernel with nothing but its middle. Transformed, it is a quarter of itself in four of the 16
//! places (with a sign) and nothing in the others: there it is a second product of the same sums, or of the basis times
//! them.

use pulp::Simd;

use super::aligned::{Buffer, room};
use super::product::{Piece, Product, even_parts, most_rows, store, with_rows};
use super::tiles::{Give, IN, OUT, PLACES, Tile, take};
use super::{Batch, Conv, Cut, Scratch, Share, Slot, Target, UNITS_A_HAND, pack_matrix};

/// The places where a kernel's middle is not zero, and its factors there.
const MIDDLE: [(usize, f32); 4] = [(5, 0.25), (6, -0.25), (9, -0.25), (10, 0.25)];
/// Numbers that transformed tiles of one unit of work should take at most: they stay in a core's second cache.
const UNIT_NUMBERS: usize = 1 << 15;
/// Tiles of a unit: at least so many, so that weights are read seldom enough, and at most.
const MIN_TILES: usize = 32;
const MAX_TILES: usize = 64;
/// Numbers between the places' parts of a buffer: a cache line, so that the parts do not fall on the same lines of a
/// cache.
const GAP: usize = 16;

pub fn fits(conv: &Conv, lanes: usize) -> bool {
    conv.kernel == [3, 3] && conv.strides == [1, 1] && conv.input.is_multiple_of(lanes)
}

/// Transformed weights, `[panels, PLACES, input, channels]`.
pub fn pack(conv: &Conv, weights: &[f32], channels: usize) -> Buffer<f32> {
    let mut panels = Buffer::new(conv.output * conv.input * PLACES, 0.0);
    for output in 0..conv.output {
        let (panel, column) = (output / channels, output % channels);
        for input in 0..conv.input {
            let kernel = &weights[(output * conv.input + input) * 9..][..9];
            for (place, value) in transformed(kernel).into_iter().enumerate() {
                panels[((panel * PLACES + place) * conv.input + input) * channels + column] = value;
            }
        }
    }
    panels
}

/// `G kernel Gᵀ`, in double precision.
fn transformed(kernel: &[f32]) -> [f32; PLACES] {
    const G: [[f64; 3]; IN] = [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5],
        [0.5, -0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
    let mut found = [0.0; PLACES];
    for i in 0..IN {
        for j in 0..IN {
            let mut sum = 0.0;
            for (row, numbers) in kernel.chunks_exact(3).enumerate() {
                for (column, number) in numbers.iter().enumerate() {
                    sum += G[i][row] * G[j][column] * f64::from(*number);
                }
            }
            found[i * IN + j] = sum as f32;
        }
    }
    found
}

/// Tiles of one unit of work.
fn unit_tiles(conv: &Conv) -> usize {
    (UNIT_NUMBERS / (PLACES * conv.input)).clamp(MIN_TILES, MAX_TILES)
}

/// Tiles of a batch are numbered sample by sample, row by row. Where they make too few units, each takes some of the
/// panels only, and makes the sums of its tiles once more.
pub fn cut(conv: &Conv, panels: usize, samples: usize, output: [usize; 2], hands: usize) -> Cut {
    let size = unit_tiles(conv);
    let parts = (samples * tiles_of(output)).div_ceil(size);
    let groups = match hands {
        1 => 1,
        _ => (UNITS_A_HAND * hands).div_ceil(parts).min(panels),
    };
    Cut {
        units: parts * groups,
        size,
        groups,
    }
}

fn tiles_of(output: [usize; 2]) -> usize {
    output[0].div_ceil(OUT) * output[1].div_ceil(OUT)
}

/// Consecutive tiles of one sample.
struct Stretch {
    sample: usize,
    start: usize,
    end: usize,
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
    let per_sample = tiles_of(output);
    let most = cut.size;
    let start = unit / cut.groups * most;
    let count = most.min(batch.rows.len() * per_sample - start);
    let across = output[1].div_ceil(OUT);
    let tile = |at: usize| {
        let (sample, place) = ((start + at) / per_sample, (start + at) % per_sample);
        Tile {
            sample,
            y: OUT * (place / across),
            x: OUT * (place % across),
        }
    };
    let first = start / per_sample;
    let last = (start + count - 1) / per_sample;
    let stretches: Vec<Stretch> = (first..=last)
        .map(|sample| Stretch {
            sample,
            start: (sample * per_sample).max(start) - start,
            end: ((sample + 1) * per_sample).min(start + count) - start,
        })
        .collect();
    let channels = V * S::F32_LANES;
    let columns = slot.columns();
    let (sums_gap, products_gap) = (count * conv.input + GAP, count * channels + GAP);
    room(&mut scratch.sums, PLACES * sums_gap, 0.0);
    room(&mut scratch.products, PLACES * products_gap, 0.0);
    room(&mut scratch.matrix, columns * channels, 0.0);
    room(&mut scratch.scales, stretches.len() * conv.output, 0.0);
    room(&mut scratch.biases, stretches.len() * conv.output, 0.0);
    room(&mut scratch.zeros, conv.input, 0.0);
    room(&mut scratch.numbers, columns, 0.0);
    let Scratch {
        sums,
        products,
        matrix,
        projected,
        scales,
        biases,
        zeros,
        numbers,
        ..
    } = scratch;
    for (at, stretch) in stretches.iter().enumerate() {
        let row = batch.rows[stretch.sample] as usize * batch.affine_length;
        batch.affine.copy(
            row + slot.scale,
            &mut scales[at * conv.output..][..conv.output],
        );
        batch.affine.copy(
            row + slot.bias,
            &mut biases[at * conv.output..][..conv.output],
        );
    }
    // SAFETY: the tiles are tiles of the batch; buffers have the room that was just made.
    unsafe {
        for at in 0..count {
            let sums = sums.as_mut_ptr().add(at * conv.input);
            take::<S>(simd, conv, batch, tile(at), zeros, sums, sums_gap);
        }
        let adapted = Adapted::new(slot, count, sums, projected);
        let panels = conv.output / channels;
        let group = unit % cut.groups;
        for panel in panels * group / cut.groups..panels * (group + 1) / cut.groups {
            let weights = slot
                .panels
                .as_ptr()
                .add(panel * PLACES * conv.input * channels);
            for (index, stretch) in stretches.iter().enumerate() {
                if let Some(bank) = &batch.matrix {
                    let row = batch.rows[stretch.sample] as usize * conv.output;
                    let start = (row + panel * channels) * columns;
                    pack_matrix(bank, start, channels, &mut numbers[..columns], matrix);
                }
                let scale = scales.as_ptr().add(index * conv.output + panel * channels);
                for place in 0..PLACES {
                    let weights = weights.add(place * conv.input * channels);
                    let middle = match batch.matrix {
                        Some(_) => MIDDLE.iter().position(|(middle, _)| *middle == place),
                        None => None,
                    };
                    for (from, to) in even_parts(stretch.end - stretch.start, most_rows::<S>()) {
                        let (from, to) = (stretch.start + from, stretch.start + to);
                        let frozen = Piece {
                            numbers: sums.as_ptr().add(place * sums_gap + from * conv.input),
                            stride: conv.input,
                            panel: weights,
                            depth: conv.input,
                        };
                        let product = Product {
                            frozen: &[frozen],
                            scale,
                            adapted: middle.map(|middle| {
                                let piece = Piece {
                                    numbers: adapted.numbers[middle].add(from * adapted.stride),
                                    stride: adapted.stride,
                                    panel: matrix.as_ptr(),
                                    depth: columns,
                                };
                                (piece, MIDDLE[middle].1)
                            }),
                        };
                        let into = products
                            .as_mut_ptr()
                            .add(place * products_gap + from * channels);
                        with_rows!(to - from, S, V, multiply, (simd, &product, into));
                    }
                }
                let bias = biases.as_ptr().add(index * conv.output + panel * channels);
                for at in stretch.start..stretch.end {
                    let products = products.as_ptr().add(at * channels);
                    let give = Give {
                        slot,
                        residual: batch.residual,
                        output,
                        target,
                        first: panel * channels,
                        bias,
                    };
                    give.tile::<S, V>(simd, tile(at), products, products_gap);
                }
            }
        }
    }
}

/// What matrices are multiplied with.
struct Adapted {
    /// Of the first tile, in each of the `MIDDLE` places.
    numbers: [*const f32; MIDDLE.len()],
    /// From a tile's numbers to the next one's.
    stride: usize,
}

impl Adapted {
    /// The sums of so many tiles, or the basis times them, which `into` then holds: a quarter of the sums at most.
    fn new(slot: &Slot, count: usize, sums: &[f32], into: &mut Buffer<f32>) -> Self {
        let input = slot.conv.input;
        let sums = MIDDLE.map(|(place, _)| &sums[place * (count * input + GAP)..]);
        let Some(basis) = &slot.basis else {
            return Self {
                numbers: sums.map(<[f32]>::as_ptr),
                stride: input,
            };
        };
        let gap = count * basis.stride + GAP;
        room(into, MIDDLE.len() * gap, 0.0);
        for (sums, into) in sums.into_iter().zip(into.chunks_exact_mut(gap)) {
            basis.multiply(sums, input, count, into);
        }
        let into: &[f32] = into;
        Self {
            numbers: std::array::from_fn(|at| into[at * gap..].as_ptr()),
            stride: basis.stride,
        }
    }
}

/// Writes the products of M tiles, one after the other.
///
/// # Safety
/// As `Product::sums`, and there is room for M rows.
#[inline(always)]
unsafe fn multiply<S: Simd, const M: usize, const V: usize>(
    simd: S,
    product: &Product<'_>,
    into: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = product.sums::<S, M, V>(simd);
        for (m, row) in sums.into_iter().enumerate() {
            for (v, sum) in row.into_iter().enumerate() {
                store::<S>(into.add((m * V + v) * S::F32_LANES), sum);
            }
        }
    }
}

/// What a slot's values are at least. The larger of it and a value that is not a number, in this order, is that value:
/// who checks the answer sees it.
pub fn floor(slot: &Slot) -> f32 {
    if slot.relu { 0.0 } else { f32::NEG_INFINITY }
}
