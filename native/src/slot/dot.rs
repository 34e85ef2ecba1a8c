//! The inner loops of slots in 8 bits: in plain code for any processor, which gives the same sums, and by `vnni.rs`.

/// The bytes of one vector of the widest sort: of 16 channels, the weights of four consecutive numbers each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [i8; LINE]);

/// Channels of a line.
pub const CHANNELS: usize = 16;
/// Numbers whose products go into a channel's sum at once.
pub const GROUP: usize = 4;
/// Bytes of a line.
pub const LINE: usize = CHANNELS * GROUP;
/// A line of zeros.
pub const ZEROS: Line = Line([0; LINE]);

/// Pixels that are held in registers at once, with two vectors of channels each.
pub const MOST_PIXELS: usize = 12;

/// Products of bytes: for each pixel `height` pieces of `depth` groups.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Of the first pixel.
    pub numbers: *const u8,
    /// From a piece to the next.
    pub across: usize,
    /// How many pieces.
    pub height: usize,
    /// Groups of a piece.
    pub depth: usize,
    /// `[height, depth, vectors]`
    pub panel: *const Line,
}

/// Some pixels of a row of the output, and a panel of channels:
/// `factor * (round(ratio * frozen) + adapted) + bias + residual`, at least `floor`.
pub struct Tile {
    /// From a pixel's bytes to the next one's.
    pub stride: usize,
    pub frozen: Piece,
    /// The domain's matrix, where there is one; without it the frozen sums stay as they are.
    pub adapted: Option<Piece>,
    /// One for each channel, as all that follow.
    pub ratio: *const f32,
    pub factor: *const f32,
    pub bias: *const f32,
    /// Null where there is none; else as the output.
    pub residual: *const f32,
    pub into: *mut f32,
    /// From a pixel's numbers to the next one's.
    pub channels: usize,
    pub floor: f32,
}

/// Whether the processor has what makes 8 bits fast.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return super::vnni::available();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Calls the function of `vnni.rs` on a processor for it, and otherwise the one here.
macro_rules! fastest {
    ($name:ident($($argument:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        if super::vnni::available() {
            // SAFETY: the processor has what it needs; the rest is the caller's promise.
            return unsafe { super::vnni::$name($($argument),*) };
        }
        #[allow(unused_unsafe)]
        // SAFETY: the caller's promise.
        unsafe { plain::$name($($argument),*) }
    }};
}

/// Writes a tile.
///
/// # Safety
/// All that the tile points to is there, for so many pixels and vectors, and nobody else uses the output.
pub unsafe fn tile(tile: &Tile, pixels: usize, vectors: usize) {
    fastest!(tile(tile, pixels, vectors))
}

/// The largest magnitude; no number where one of them is none.
pub fn largest(numbers: &[f32]) -> f32 {
    fastest!(largest(numbers))
}

/// Writes `round(factor * number)`, within 0 to 255.
pub fn unsigned(numbers: &[f32], factor: f32, into: &mut [u8]) {
    assert!(numbers.len() == into.len());
    fastest!(unsigned(numbers, factor, into))
}

/// Writes `round(factor * number)`, within a signed byte, as a channel's part of a panel: each group of numbers `stride`
/// bytes behind the one before.
pub fn signed(numbers: &[f32], factor: f32, into: &mut [i8], stride: usize) {
    assert!(numbers.len().is_multiple_of(GROUP) && !numbers.is_empty());
    assert!(into.len() >= (numbers.len() / GROUP - 1) * stride + GROUP);
    fastest!(signed(numbers, factor, into, stride))
}

pub mod plain {
    use super::{CHANNELS, GROUP, Piece, Tile};

    /// # Safety
    /// As of the function outside.
    pub unsafe fn tile(tile: &Tile, pixels: usize, vectors: usize) {
        for pixel in 0..pixels {
            for channel in 0..vectors * CHANNELS {
                let at = pixel * tile.channels + channel;
                // SAFETY: the caller's promise.
                unsafe {
                    let sum_of = |piece: &Piece| sum(tile, piece, pixel, channel, vectors);
                    let mut sum = sum_of(&tile.frozen);
                    if let Some(adapted) = &tile.adapted {
                        let frozen = sum as f32 * *tile.ratio.add(channel);
                        sum = frozen.round_ties_even() as i32 + sum_of(adapted);
                    }
                    let mut value =
                        (sum as f32).mul_add(*tile.factor.add(channel), *tile.bias.add(channel));
                    if !tile.residual.is_null() {
                        value += *tile.residual.add(at);
                    }
                    // What is not a number stays one.
                    *tile.into.add(at) = if value < tile.floor {
                        tile.floor
                    } else {
                        value
                    };
                }
            }
        }
    }

    /// # Safety
    /// The pieces of this pixel and the channel's weights are there.
    unsafe fn sum(tile: &Tile, piece: &Piece, pixel: usize, channel: usize, vectors: usize) -> i32 {
        let mut sum = 0;
        let (vector, place) = (channel / CHANNELS, channel % CHANNELS);
        for row in 0..piece.height {
            for group in 0..piece.depth {
                // SAFETY: the caller's promise.
                unsafe {
                    let line = &*piece
                        .panel
                        .add((row * piece.depth + group) * vectors + vector);
                    let numbers = piece
                        .numbers
                        .add(pixel * tile.stride + row * piece.across + group * GROUP);
                    for at in 0..GROUP {
                        sum += i32::from(*numbers.add(at)) * i32::from(line.0[place * GROUP + at]);
                    }
                }
            }
        }
        sum
    }

    pub fn largest(numbers: &[f32]) -> f32 {
        numbers.iter().fold(0.0, |most, number| {
            let size = number.abs();
            // Whatever is compared with what is no number is not larger.
            if size <= most {
                most
            } else {
                size + 0.0 * most
            }
        })
    }

    pub fn unsigned(numbers: &[f32], factor: f32, into: &mut [u8]) {
        for (number, into) in numbers.iter().zip(into) {
            *into = (number * factor).round_ties_even() as u8;
        }
    }

    pub fn signed(numbers: &[f32], factor: f32, into: &mut [i8], stride: usize) {
        for (at, number) in numbers.iter().enumerate() {
            into[at / GROUP * stride + at % GROUP] = (number * factor).round_ties_even() as i8;
        }
    }
}
