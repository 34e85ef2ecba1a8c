//! A whole JPEG to planes of samples, strictly: what is cut off or damaged is an error, never a half-grey picture.
//!
//! Its caller sends ordinary JPEGs alone (src/image/jpeg-decoder.ts) and has libvips read what fails here, so an error
//! says no more than that.

use std::time::Instant;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::colour::{Plane, to_rgb};
use crate::resize::Size;

/// Why there are no pixels.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The deadline passed.
    Late,
    /// The file is damaged, or of a kind that is not read here.
    Unreadable(String),
}

/// The planes of a picture, each a line after the other: one of grey, or red, green and blue.
pub type Planes = Vec<Vec<u8>>;

/// A JPEG of one component, or of luma and chroma, in one scan without restart markers. `scan`: where its coded data
/// begins.
///
/// # Errors
/// Where the file is not whole, has other sides, or `deadline` passes.
pub fn decode(
    mut bytes: Vec<u8>,
    scan: usize,
    size: Size,
    deadline: Instant,
) -> Result<Planes, Failure> {
    guard_end(&mut bytes, scan)?;
    let options = DecoderOptions::new_fast()
        .set_strict_mode(true)
        .set_max_width(size.width)
        .set_max_height(size.height);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes[..]), options);
    decoder.set_cancel(move || Instant::now() >= deadline);
    decoder.decode_headers().map_err(failure)?;
    if decoder.dimensions() != Some((size.width, size.height)) {
        return Err(unreadable("it names two sizes"));
    }
    let mut raw = decoder.raw_output();
    let count = raw.num_components().unwrap_or(0);
    let Some(layout) = raw.layout() else {
        return Err(unreadable("it has no components"));
    };
    let mut samples: Planes = layout[..count]
        .iter()
        .map(|plane| vec![0; plane.byte_size])
        .collect();
    let mut into: Vec<&mut [u8]> = samples.iter_mut().map(Vec::as_mut_slice).collect();
    raw.decode_into_planes(&mut into).map_err(failure)?;
    let planes: Vec<Plane<'_>> = samples
        .iter()
        .zip(&layout)
        .map(|(samples, plane)| Plane {
            samples,
            stride: plane.stride,
            size: Size {
                width: plane.width,
                height: plane.height,
            },
        })
        .collect();
    match planes[..] {
        [grey] => Ok(vec![grey.whole()]),
        [luma, blue, red] if luma.size == size && blue.size == red.size && blue.halves(size) => {
            Ok(to_rgb(luma, [blue, red]).into())
        }
        _ => Err(unreadable("its components are not luma and chroma")),
    }
}

/// Bytes of one bits behind the coded data: no Huffman code is that long and of one bits alone.
const GUARD: [u8; 32] = [
    0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff,
    0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0,
];
const END: [u8; 2] = [0xff, 0xd9];

/// Puts one bits between the coded data and the end marker, and drops what follows that.
///
/// The decoder takes zeros for what is missing, and does not tell where data ends early in the last line of blocks. One
/// bits are no code, so it stops at them.
fn guard_end(bytes: &mut Vec<u8>, scan: usize) -> Result<(), Failure> {
    let coded = bytes.get(scan..).unwrap_or_default();
    let end = coded
        .windows(2)
        .position(|pair| pair[0] == END[0] && pair[1] != 0)
        .filter(|&at| coded[at + 1] == END[1])
        .ok_or_else(|| unreadable("its data does not end with the end marker"))?;
    bytes.truncate(scan + end);
    bytes.extend(GUARD.into_iter().chain(END));
    Ok(())
}

fn unreadable(why: &str) -> Failure {
    Failure::Unreadable(why.into())
}

fn failure(error: DecodeErrors) -> Failure {
    match error {
        DecodeErrors::Cancelled => Failure::Late,
        other => Failure::Unreadable(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{END, Failure, Planes, decode};
    use crate::resize::Size;

    const COLOUR: &[u8] = include_bytes!("../../test/fixtures/images/colour.jpg");
    const GREY: &[u8] = include_bytes!("../../test/fixtures/images/grey.jpg");
    const SIZE: Size = Size {
        width: 96,
        height: 75,
    };

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Where the coded data of the only scan begins.
    fn scan_of(file: &[u8]) -> usize {
        let marker = file
            .windows(2)
            .position(|pair| pair == [0xff, 0xda])
            .unwrap();
        marker + 2 + usize::from(u16::from_be_bytes([file[marker + 2], file[marker + 3]]))
    }

    fn decoded(file: &[u8], scan: usize) -> Result<Planes, Failure> {
        decode(file.to_vec(), scan, SIZE, soon())
    }

    #[test]
    fn colour_and_grey_become_planes() {
        for (file, count) in [(COLOUR, 3), (GREY, 1)] {
            let planes = decoded(file, scan_of(file)).unwrap();
            assert_eq!(planes.len(), count);
            assert!(planes.iter().all(|plane| plane.len() == 96 * 75));
        }
    }

    #[test]
    fn cut_off_at_any_length_it_is_refused_with_an_end_marker_too() {
        for file in [COLOUR, GREY] {
            let scan = scan_of(file);
            for length in 0..file.len() - 2 {
                assert!(decoded(&file[..length], scan).is_err(), "{length}");
            }
            // The last byte may hold nothing but what fills it.
            for length in scan..file.len() - 4 {
                let ended = [&file[..length], &END].concat();
                assert!(decoded(&ended, scan).is_err(), "{length}, ended");
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_ignored() {
        let longer = [COLOUR, &[1, 2, 0xff, 0xd8]].concat();
        assert!(decoded(&longer, scan_of(COLOUR)).is_ok());
    }

    #[test]
    fn other_sides_than_the_header_said_are_refused() {
        for (width, height) in [(95, 75), (96, 76)] {
            let size = Size { width, height };
            let found = decode(COLOUR.to_vec(), scan_of(COLOUR), size, soon());
            assert!(matches!(found, Err(Failure::Unreadable(_))));
        }
    }

    #[test]
    fn a_deadline_that_has_passed_ends_it() {
        let found = decode(COLOUR.to_vec(), scan_of(COLOUR), SIZE, Instant::now());
        assert_eq!(found, Err(Failure::Late));
    }

    #[test]
    fn what_is_changed_at_random_is_decoded_or_refused() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for round in 0..2000 {
            let original = [COLOUR, GREY][round % 2];
            let mut file = original.to_vec();
            for _ in 0..=random(4) {
                let at = random(file.len());
                file[at] = random(256) as u8;
            }
            if let Ok(planes) = decoded(&file, scan_of(original)) {
                assert!(planes.iter().all(|plane| plane.len() == 96 * 75));
            }
        }
    }
}
