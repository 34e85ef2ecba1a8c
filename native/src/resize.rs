//! A part of a resized plane: made smaller with Pillow's arithmetic, larger with that of libvips.

use fast_image_resize as fir;
use fir::images::{Image, ImageRef};
use fir::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::enlarge::enlarge;

/// In pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

/// A rectangle of the resized picture.
#[derive(Clone, Copy, Debug)]
pub struct Crop {
    /// Its first column.
    pub left: usize,
    /// Its first line.
    pub top: usize,
    /// Its sides.
    pub size: Size,
}

/// The part `crop` of a plane of samples after it has been resized from `from` to `to` with a linear kernel. Sides grow
/// together or shrink together.
///
/// # Errors
/// Where the sides contradict each other.
pub fn fit(plane: &[u8], from: Size, to: Size, crop: Crop) -> Result<Vec<u8>, String> {
    let ends = |start: usize, count: usize, side: usize| {
        start.checked_add(count).is_some_and(|end| end <= side)
    };
    let inside =
        ends(crop.left, crop.size.width, to.width) && ends(crop.top, crop.size.height, to.height);
    let sides = [from.width, from.height, crop.size.width, crop.size.height];
    if !inside || sides.contains(&0) || plane.len() != from.width * from.height {
        return Err("the sides of the picture and of its part do not fit".into());
    }
    if to.width > from.width || to.height > from.height {
        return Ok(enlarge(plane, from, to, crop));
    }
    shrink(plane, from, to, crop).map_err(|error| error.to_string())
}

fn shrink(
    plane: &[u8],
    from: Size,
    to: Size,
    crop: Crop,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let picture = ImageRef::new(
        u32::try_from(from.width)?,
        u32::try_from(from.height)?,
        plane,
        PixelType::U8,
    )?;
    let (width, height) = (
        u32::try_from(crop.size.width)?,
        u32::try_from(crop.size.height)?,
    );
    let mut part = Image::new(width, height, PixelType::U8);
    // Of the original, the rectangle that becomes the part. Pixels beside it count at its edges, as they do in Pillow.
    let (left, columns) = span(from.width, to.width, crop.left, crop.size.width);
    let (top, lines) = span(from.height, to.height, crop.top, crop.size.height);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left, top, columns, lines);
    Resizer::new().resize(&picture, &mut part, &options)?;
    Ok(part.into_vec())
}

/// Of one axis of the original, where the part begins, and its length.
fn span(from: usize, to: usize, start: usize, count: usize) -> (f64, f64) {
    let scale = from as f64 / to as f64;
    let first = start as f64 * scale;
    // Rounding must not lead out of the picture.
    (first, (count as f64 * scale).min(from as f64 - first))
}

#[cfg(test)]
mod tests {
    use super::{Crop, Size, fit};

    /// Brightness grows from left to right and from line to line.
    fn ramp(size: Size) -> Vec<u8> {
        let sample = |at: usize| ((at % size.width) * 3 + at / size.width * 5) % 256;
        (0..size.width * size.height)
            .map(|at| sample(at) as u8)
            .collect()
    }

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    fn whole(size: Size) -> Crop {
        Crop {
            left: 0,
            top: 0,
            size,
        }
    }

    #[test]
    fn a_part_is_that_of_the_whole() {
        for (from, to) in [
            (size(200, 150), size(96, 72)),
            (size(75, 100), size(72, 96)),
            (size(9, 9000), size(5, 5000)),
            (size(30, 20), size(96, 64)),
        ] {
            let all = fit(&ramp(from), from, to, whole(to)).unwrap();
            let part = Crop {
                left: 1,
                top: to.height / 3,
                size: size(4, 5),
            };
            let found = fit(&ramp(from), from, to, part).unwrap();
            for (line, found) in found.chunks(4).enumerate() {
                let at = (part.top + line) * to.width + part.left;
                assert_eq!(found, &all[at..at + 4], "{from:?}");
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let (plane, same) = (ramp(size(30, 20)), size(30, 20));
        assert_eq!(fit(&plane, same, same, whole(same)).unwrap(), plane);
    }

    #[test]
    fn halves_by_the_triangle_of_pillow() {
        // Weights 1, 3, 3, 1 around each new sample, and what of them is inside at the edges.
        let line = [0, 80, 160, 240, 80, 0].repeat(2);
        let found = fit(&line, size(6, 2), size(3, 1), whole(size(3, 1))).unwrap();
        assert_eq!(found, [57, 170, 69]);
    }

    #[test]
    fn enlarges_between_the_centres_of_samples() {
        let found = fit(&[0, 200], size(2, 1), size(4, 2), whole(size(4, 2))).unwrap();
        assert_eq!(found, [0, 50, 150, 200].repeat(2));
    }

    #[test]
    fn sides_that_do_not_fit_are_refused() {
        let attempt = |from: Size, left: usize, width: usize| {
            let part = Crop {
                left,
                top: 0,
                size: size(width, 1),
            };
            fit(&[0; 16], from, size(2, 2), part)
        };
        assert!(attempt(size(4, 4), 0, 2).is_ok());
        assert!(attempt(size(4, 4), 1, 2).is_err());
        assert!(attempt(size(4, 4), usize::MAX, 2).is_err());
        assert!(attempt(size(4, 4), 0, 0).is_err());
        assert!(attempt(size(4, 5), 0, 2).is_err());
    }
}
