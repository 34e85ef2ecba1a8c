//! 3x3 kernels that move by one pixel, by Winograd's F(2x2, 3x3) (Lavin and Gray, 2016): of each tile of 4x4 input
//! pixels 16 sums are made, of which each is multiplied with one transformed weight instead of nine, and four output
//! pixels come of them.
//!
//! A domain's matrix is a kernel with nothing but its middle. Transformed, it is a quarter of itself in four of the 16
//! places (with a sign) and nothing in the others: there it is a second product of the same sums.

use pulp::Simd;

use super::product::{Piece, Product, even_parts, load, most_rows, store, with_rows};
use super::{Batch, Conv, Cut, Scratch, Share, Slot, Target, UNITS_A_HAND, pack_matrix, room};

/// Pixels of a tile's side, input and output.
const IN: usize = 4;
const OUT: usize = 2;
/// Numbers of a transformed tile.
const PLACES: usize = IN * IN;
/// What a kernel's middle becomes by place; zero elsewhere.
const MIDDLE: [f32; PLACES] = {
    let mut factors = [0.0; PLACES];
    factors[5] = 0.25;
    factors[6] = -0.25;
    factors[9] = -0.25;
    factors[10] = 0.25;
    factors
};
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
pub fn pack(conv: &Conv, weights: &[f32], channels: usize) -> Vec<f32> {
    let mut panels = vec![0.0; conv.output * conv.input * PLACES];
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

/// A tile's place.
#[derive(Clone, Copy)]
struct Tile {
    sample: usize,
    /// Of the first output pixel.
    y: usize,
    x: usize,
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
    let (sums_gap, products_gap) = (count * conv.input + GAP, count * channels + GAP);
    room(&mut scratch.sums, PLACES * sums_gap, 0.0);
    room(&mut scratch.products, PLACES * products_gap, 0.0);
    room(&mut scratch.matrix, conv.input * channels, 0.0);
    room(&mut scratch.scales, stretches.len() * conv.output, 0.0);
    room(&mut scratch.biases, stretches.len() * conv.output, 0.0);
    room(&mut scratch.zeros, conv.input, 0.0);
    room(&mut scratch.numbers, conv.input, 0.0);
    let Scratch {
        sums,
        products,
        matrix,
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
        let panels = conv.output / channels;
        let group = unit % cut.groups;
        for panel in panels * group / cut.groups..panels * (group + 1) / cut.groups {
            let weights = slot
                .panels
                .as_ptr()
                .add(panel * PLACES * conv.input * channels);
            for (index, stretch) in stretches.iter().enumerate() {
                if let Some(bank) = &batch.matrix {
                    let row = batch.rows[stretch.sample] as usize;
                    pack_matrix(bank, conv, row, panel * channels, channels, numbers, matrix);
                }
                let scale = scales.as_ptr().add(index * conv.output + panel * channels);
                for place in 0..PLACES {
                    let weights = weights.add(place * conv.input * channels);
                    let adapted = batch.matrix.is_some() && MIDDLE[place] != 0.0;
                    for (from, to) in even_parts(stretch.end - stretch.start, most_rows::<S>()) {
                        let (from, to) = (stretch.start + from, stretch.start + to);
                        let numbers = sums.as_ptr().add(place * sums_gap + from * conv.input);
                        let piece = |panel| Piece {
                            numbers,
                            panel,
                            depth: conv.input,
                        };
                        let product = Product {
                            frozen: &[piece(weights)],
                            stride: conv.input,
                            scale,
                            adapted: adapted.then(|| (piece(matrix.as_ptr()), MIDDLE[place])),
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

/// Writes the sums of one tile's input, `Bᵀ d B`, for all channels.
///
/// # Safety
/// The tile is one of the batch, and `into` has room for `PLACES` pixels, `gap` apart.
#[inline(always)]
unsafe fn take<S: Simd>(
    simd: S,
    conv: &Conv,
    batch: &Batch<'_>,
    tile: Tile,
    zeros: &[f32],
    into: *mut f32,
    gap: usize,
) {
    let [height, width] = batch.size;
    let mut pixels = [zeros.as_ptr(); PLACES];
    for i in 0..IN {
        // Above the image this wraps round, and is beyond its end.
        let y = (tile.y + i).wrapping_sub(conv.pads[0]);
        for j in 0..IN {
            let x = (tile.x + j).wrapping_sub(conv.pads[1]);
            if y < height && x < width {
                let at = ((tile.sample * height + y) * width + x) * conv.input;
                pixels[i * IN + j] = batch.images[at..].as_ptr();
            }
        }
    }
    for channel in (0..conv.input).step_by(S::F32_LANES) {
        let mut rows = [[simd.splat_f32s(0.0); IN]; IN];
        for j in 0..IN {
            let mut d = [simd.splat_f32s(0.0); IN];
            for i in 0..IN {
                // SAFETY: a pixel, or zeros, has all channels.
                d[i] = unsafe { load::<S>(pixels[i * IN + j].add(channel)) };
            }
            let column = differences(simd, d);
            for i in 0..IN {
                rows[i][j] = column[i];
            }
        }
        for (i, row) in rows.into_iter().enumerate() {
            for (j, sum) in differences(simd, row).into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { store::<S>(into.add((i * IN + j) * gap + channel), sum) };
            }
        }
    }
}

/// `Bᵀ d` of a column.
#[inline(always)]
fn differences<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; IN]) -> [S::f32s; IN] {
    [
        simd.sub_f32s(a, c),
        simd.add_f32s(b, c),
        simd.sub_f32s(c, b),
        simd.sub_f32s(b, d),
    ]
}

/// `Aᵀ m` of a column.
#[inline(always)]
fn totals<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; IN]) -> [S::f32s; OUT] {
    [
        simd.add_f32s(simd.add_f32s(a, b), c),
        simd.sub_f32s(simd.sub_f32s(b, c), d),
    ]
}

/// What finished tiles go through.
struct Give<'a> {
    slot: &'a Slot,
    residual: Option<&'a [f32]>,
    output: [usize; 2],
    target: Target,
    /// Of the panel's channels.
    first: usize,
    bias: *const f32,
}

impl Give<'_> {
    /// Writes the output pixels of one tile, `Aᵀ m A`, for the channels of a panel.
    ///
    /// # Safety
    /// The tile is one of the output, and `products` are its, `gap` apart.
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize>(
        &self,
        simd: S,
        tile: Tile,
        products: *const f32,
        gap: usize,
    ) {
        let whole = tile.y + OUT <= self.output[0] && tile.x + OUT <= self.output[1];
        // SAFETY: the caller's promise.
        unsafe {
            match (whole, self.residual.is_some()) {
                (true, true) => self.pixels::<S, V, true, true>(simd, tile, products, gap),
                (true, false) => self.pixels::<S, V, true, false>(simd, tile, products, gap),
                (false, true) => self.pixels::<S, V, false, true>(simd, tile, products, gap),
                (false, false) => self.pixels::<S, V, false, false>(simd, tile, products, gap),
            }
        }
    }

    /// @param WHOLE all of the tile's pixels are in the output
    /// @param ADDS there is a residual
    ///
    /// # Safety
    /// As `tile`.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const V: usize, const WHOLE: bool, const ADDS: bool>(
        &self,
        simd: S,
        tile: Tile,
        products: *const f32,
        gap: usize,
    ) {
        let [height, width] = self.output;
        let channels = self.slot.conv.output;
        let corner = ((tile.sample * height + tile.y) * width + tile.x) * channels + self.first;
        let residual = self.residual.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let floor = simd.splat_f32s(floor(self.slot));
        for v in 0..V {
            let channel = v * S::F32_LANES;
            let mut rows = [[simd.splat_f32s(0.0); IN]; OUT];
            for j in 0..IN {
                let mut m = [simd.splat_f32s(0.0); IN];
                for i in 0..IN {
                    // SAFETY: the caller's promise.
                    m[i] = unsafe { load::<S>(products.add((i * IN + j) * gap + channel)) };
                }
                let column = totals(simd, m);
                for i in 0..OUT {
                    rows[i][j] = column[i];
                }
            }
            // SAFETY: a bias has all channels.
            let bias = unsafe { load::<S>(self.bias.add(channel)) };
            for (i, row) in rows.into_iter().enumerate() {
                for (j, pixel) in totals(simd, row).into_iter().enumerate() {
                    if !WHOLE && (tile.y + i >= height || tile.x + j >= width) {
                        continue;
                    }
                    let at = corner + (i * width + j) * channels + channel;
                    let mut value = simd.add_f32s(pixel, bias);
                    // SAFETY: within the output, which the residual is as large as.
                    unsafe {
                        if ADDS {
                            value = simd.add_f32s(value, load::<S>(residual.add(at)));
                        }
                        store::<S>(self.target.0.add(at), simd.max_f32s(floor, value));
                    }
                }
            }
        }
    }
}

/// What a slot's values are at least. The larger of it and a value that is not a number, in this order, is that value:
/// who checks the answer sees it.
pub fn floor(slot: &Slot) -> f32 {
    if slot.relu { 0.0 } else { f32::NEG_INFINITY }
}
