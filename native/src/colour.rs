//! Luma and chroma of a JPEG to red, green and blue, equal to libjpeg to the bit: its "fancy" upsampling of chroma and its
//! fixed-point colours. The decoder's own round chroma up each time, which is a third of a level in the mean.
//!
//! Planes stay apart: a resized picture is interleaved later, when it is small.

use crate::resize::Size;

/// Samples of one component, a line after the other.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    /// Lines of `stride` samples.
    pub samples: &'a [u8],
    /// Samples that a line has place for.
    pub stride: usize,
    /// What of it is picture.
    pub size: Size,
}

impl Plane<'_> {
    /// The picture without what fills its lines.
    pub fn whole(&self) -> Vec<u8> {
        (0..self.size.height)
            .flat_map(|at| self.line(at))
            .copied()
            .collect()
    }

    /// Whether each side is that of `luma`, or half of it, rounded up.
    pub fn halves(&self, luma: Size) -> bool {
        let fits = |side: usize, whole: usize| side == whole || side == whole.div_ceil(2);
        fits(self.size.width, luma.width) && fits(self.size.height, luma.height)
    }

    fn line(&self, index: usize) -> &[u8] {
        &self.samples[index * self.stride..][..self.size.width]
    }
}

/// Chroma that is no wider than this is repeated, not interpolated, as libjpeg does.
const REPEATED_WIDTH: usize = 2;

/// Red, green and blue of a picture of the size of `luma`. Chroma has the same sides, or half of them, rounded up.
pub fn to_rgb(luma: Plane<'_>, chroma: [Plane<'_>; 2]) -> [Vec<u8>; 3] {
    let Size { width, height } = luma.size;
    let mut rgb = [(); 3].map(|()| vec![0; width * height]);
    let mut sums = vec![0; chroma[0].size.width];
    let mut lines = [vec![0; width + 1], vec![0; width + 1]];
    for at in 0..height {
        for (plane, line) in chroma.iter().zip(&mut lines) {
            upsample(plane, luma.size, at, &mut sums, line);
        }
        let [red, green, blue] = &mut rgb;
        let range = at * width..(at + 1) * width;
        convert(
            luma.line(at),
            &lines[0][..width],
            &lines[1][..width],
            [
                &mut red[range.clone()],
                &mut green[range.clone()],
                &mut blue[range],
            ],
        );
    }
    rgb
}

/// Line `at` of a plane that is brought to the size `to`. `out` may get one sample more than a line has.
fn upsample(plane: &Plane<'_>, to: Size, at: usize, sums: &mut [u16], out: &mut [u8]) {
    let Size { width, height } = plane.size;
    let halved = (width < to.width, height < to.height);
    let near = plane.line(if halved.1 { at / 2 } else { at });
    if !halved.0 && !halved.1 {
        out[..width].copy_from_slice(near);
        return;
    }
    let upper = at.is_multiple_of(2);
    // The next line above or below, where there is one.
    let next = if upper {
        (at / 2).saturating_sub(1)
    } else {
        (at / 2 + 1).min(height - 1)
    };
    let far = if halved.1 { plane.line(next) } else { near };
    if halved.0 && width <= REPEATED_WIDTH {
        for (pair, &sample) in out.chunks_mut(2).zip(near) {
            pair.fill(sample);
        }
        return;
    }
    if !halved.0 {
        let bias = if upper { 1 } else { 2 };
        for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
            *out = ((u16::from(near) * 3 + u16::from(far) + bias) >> 2) as u8;
        }
        return;
    }
    // Sums have a weight of 4 where lines are interpolated, otherwise 1.
    if halved.1 {
        for ((sum, &near), &far) in sums.iter_mut().zip(near).zip(far) {
            *sum = u16::from(near) * 3 + u16::from(far);
        }
        widen::<4>(sums, out, [8, 7]);
    } else {
        for (sum, &near) in sums.iter_mut().zip(near) {
            *sum = u16::from(near);
        }
        widen::<2>(sums, out, [1, 2]);
    }
}

/// Twice as many samples, each three quarters of the nearest one and a quarter of the next one. `round` is added before
/// the sums are divided by two to the power of `SHIFT`.
#[inline]
fn widen<const SHIFT: u32>(sums: &[u16], out: &mut [u8], round: [u16; 2]) {
    let last = sums.len() - 1;
    let edge = |sum: u16, round: u16| ((sum * 4 + round) >> SHIFT) as u8;
    let mix = |near: u16, next: u16, round: u16| ((near * 3 + next + round) >> SHIFT) as u8;
    out[0] = edge(sums[0], round[0]);
    out[1] = mix(sums[0], sums[1], round[1]);
    for (pair, around) in out[2..].chunks_exact_mut(2).zip(sums.windows(3)) {
        pair[0] = mix(around[1], around[0], round[0]);
        pair[1] = mix(around[1], around[2], round[1]);
    }
    out[2 * last] = mix(sums[last], sums[last - 1], round[0]);
    if let Some(end) = out.get_mut(2 * last + 1) {
        *end = edge(sums[last], round[1]);
    }
}

/// One line.
fn convert(luma: &[u8], blue: &[u8], red: &[u8], rgb: [&mut [u8]; 3]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has these instructions.
        return unsafe { convert_avx2(luma, blue, red, rgb) };
    }
    convert_line(luma, blue, red, rgb);
}

/// The same code, for the compiler to use wider registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn convert_avx2(luma: &[u8], blue: &[u8], red: &[u8], rgb: [&mut [u8]; 3]) {
    convert_line(luma, blue, red, rgb);
}

/// ITU-R BT.601 with 16 fractional bits, as in libjpeg.
#[inline(always)]
fn convert_line(luma: &[u8], blue: &[u8], red: &[u8], [r, g, b]: [&mut [u8]; 3]) {
    const HALF: i32 = 1 << 15;
    let chroma = blue.iter().zip(red);
    let out = r.iter_mut().zip(g).zip(b);
    for ((&luma, (&blue, &red)), ((r, g), b)) in luma.iter().zip(chroma).zip(out) {
        let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
        let level = |value: i32| value.clamp(0, 255) as u8;
        *r = level(luma + ((91881 * red + HALF) >> 16));
        *g = level(luma + ((-22554 * blue - 46802 * red + HALF) >> 16));
        *b = level(luma + ((116130 * blue + HALF) >> 16));
    }
}

#[cfg(test)]
mod tests {
    use super::{Plane, to_rgb};
    use crate::resize::Size;

    fn plane(samples: &[u8], width: usize, height: usize) -> Plane<'_> {
        let size = Size { width, height };
        Plane {
            samples,
            stride: samples.len() / height,
            size,
        }
    }

    /// Blue without luma is `1.772 * (chroma - 128)`, so it tells the chroma of each pixel.
    fn blue_of(chroma: &[u8], across: usize, down: usize, width: usize, height: usize) -> Vec<u8> {
        let neutral = vec![128; chroma.len()];
        let luma = vec![0; width * height];
        let [_, _, blue] = to_rgb(
            plane(&luma, width, height),
            [plane(chroma, across, down), plane(&neutral, across, down)],
        );
        blue
    }

    /// The level of blue of a chroma value.
    fn level(chroma: i32) -> u8 {
        (((116130 * (chroma - 128)) + (1 << 15)) >> 16).clamp(0, 255) as u8
    }

    #[test]
    fn grey_has_equal_parts_and_colours_are_those_of_the_standard() {
        let luma = [0, 77, 255, 76];
        let rgb = to_rgb(
            plane(&luma, 4, 1),
            [
                plane(&[128, 128, 128, 85], 4, 1),
                plane(&[128, 128, 128, 255], 4, 1),
            ],
        );
        assert_eq!(rgb, [[0, 77, 255, 254], [0, 77, 255, 0], [0, 77, 255, 0]]);
    }

    #[test]
    fn halved_chroma_is_mixed_by_three_to_one_with_rounding_that_alternates() {
        // libjpeg's h2v1: (3 * near + left + 1) / 4 and (3 * near + right + 2) / 4.
        let found = blue_of(&[130, 135, 140], 3, 1, 5, 1);
        assert_eq!(found, [130, 131, 134, 136, 139].map(level));
        // h2v2 over two equal lines is the same with a sixteenth: (12 * near + 4 * left + 8) / 16, and + 7.
        let found = blue_of(&[130, 135, 140, 130, 135, 140], 3, 2, 6, 4);
        assert_eq!(found, [130, 131, 134, 136, 139, 140].map(level).repeat(4));
    }

    #[test]
    fn lines_are_mixed_in_the_same_way_and_repeated_at_the_edges() {
        let found = blue_of(&[130, 135], 1, 2, 1, 4);
        assert_eq!(found, [130, 131, 134, 135].map(level));
    }

    #[test]
    fn what_fills_a_line_is_no_picture() {
        let grey = plane(&[1, 2, 99, 3, 4, 99], 2, 2);
        assert_eq!(grey.whole(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_part_of_chroma_that_is_two_wide_is_repeated() {
        let found = blue_of(&[130, 160], 2, 1, 3, 1);
        assert_eq!(found, [130, 130, 160].map(level));
    }
}
