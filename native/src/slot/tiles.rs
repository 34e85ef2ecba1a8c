//! Tiles of Winograd's algorithm: an input tile becomes 16 sums, and 16 products become an output tile.

use pulp::Simd;

use super::product::{load, store};
use super::winograd::floor;
use super::{Batch, Conv, Slot, Target};

/// Pixels of a tile's side, input and output.
pub const IN: usize = 4;
pub const OUT: usize = 2;
/// Numbers of a transformed tile.
pub const PLACES: usize = IN * IN;

/// A tile's place.
#[derive(Clone, Copy)]
pub struct Tile {
    pub sample: usize,
    /// Of the first output pixel.
    pub y: usize,
    pub x: usize,
}

/// Writes the sums of one tile's input, `Bᵀ d B`, for all channels.
///
/// # Safety
/// The tile is one of the batch, and `into` has room for `PLACES` pixels, `gap` apart.
#[inline(always)]
pub unsafe fn take<S: Simd>(
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
pub struct Give<'a> {
    pub slot: &'a Slot,
    pub residual: Option<&'a [f32]>,
    /// Height and width of the output.
    pub output: [usize; 2],
    pub target: Target,
    /// Of the panel's channels.
    pub first: usize,
    pub bias: *const f32,
}

impl Give<'_> {
    /// Writes the output pixels of one tile, `Aᵀ m A`, for the channels of a panel.
    ///
    /// # Safety
    /// The tile is one of the output, and `products` are its, `gap` apart.
    #[inline(always)]
    pub unsafe fn tile<S: Simd, const V: usize>(
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
