//! Bilinear enlarging, equal to libvips and to src/image/enlarge.ts to the bit: vips_affine to twice the size, of which
//! every second line and column is kept.
//!
//! Training rounds once, as libvips does; Pillow's own arithmetic, which `resize.rs` has for smaller pictures, rounds
//! between its two passes.

use crate::resize::{Crop, Size};

/// Weights are fixed-point numbers with so many fractional bits.
const WEIGHT_BITS: u32 = 12;
/// The weight 1.
const ONE: i32 = 1 << WEIGHT_BITS;

/// Of one position of an axis: the two pixels around it, and the weight of the second.
struct Place {
    first: usize,
    second: usize,
    weight: i32,
}

/// The part `crop` of a plane of samples that is enlarged from `from` to `to`.
pub fn enlarge(plane: &[u8], from: Size, to: Size, crop: Crop) -> Vec<u8> {
    let (across, down) = (
        doubled(from.width, to.width),
        doubled(from.height, to.height),
    );
    // libvips inverts the whole 2x2 matrix. Dividing once instead would round differently.
    let inverse = 1.0 / (across * down);
    let columns = stepped(inverse * down, from.width, crop.left, crop.size.width);
    let lines = multiplied(inverse * across, from.height, crop.top, crop.size.height);
    let mut out = Vec::with_capacity(crop.size.width * crop.size.height);
    for line in &lines {
        let above = &plane[line.first * from.width..][..from.width];
        let below = &plane[line.second * from.width..][..from.width];
        let low = line.weight;
        let high = ONE - low;
        for column in &columns {
            let low_right = (low * column.weight) >> WEIGHT_BITS;
            let high_right = (high * column.weight) >> WEIGHT_BITS;
            let sum = (high - high_right) * i32::from(above[column.first])
                + high_right * i32::from(above[column.second])
                + (low - low_right) * i32::from(below[column.first])
                + low_right * i32::from(below[column.second]);
            out.push(((sum + ONE / 2) >> WEIGHT_BITS) as u8);
        }
    }
    out
}

/// The scale to twice the size. sharp computes a factor to shrink by and inverts it.
fn doubled(from: usize, to: usize) -> f64 {
    1.0 / (from as f64 / (2 * to) as f64)
}

/// Columns. libvips adds the step from one to the next, so rounding errors add up the same way here.
fn stepped(step: f64, side: usize, start: usize, count: usize) -> Vec<Place> {
    let mut position = corner(step * 2.0 * start as f64);
    let next = || {
        let odd = position + step;
        position = odd + step;
        place(odd, side)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Lines. libvips computes each from its index.
fn multiplied(step: f64, side: usize, start: usize, count: usize) -> Vec<Place> {
    let position = |index: usize| corner(step * (2 * (start + index) + 1) as f64);
    (0..count)
        .map(|index| place(position(index), side))
        .collect()
}

/// From pixels' centres to their corners, and by a margin of a pixel, so that it stays positive.
fn corner(position: f64) -> f64 {
    position - 0.5 + 1.0
}

fn place(position: f64, side: usize) -> Place {
    let whole = position.floor();
    let index = whole as usize;
    Place {
        first: index.saturating_sub(1).min(side - 1),
        second: index.min(side - 1),
        weight: ((position - whole) * f64::from(ONE)) as i32,
    }
}
