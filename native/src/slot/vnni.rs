//! `dot.rs` for x86 processors with AVX-512 and VNNI, where one instruction adds four products of bytes to each of 16 sums.

use std::arch::x86_64::*;

use super::dot::{CHANNELS, GROUP, MOST_PIXELS, Piece, Tile};

/// Whether the processor has it.
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// Sums in registers: M pixels of V vectors.
type Sums<const M: usize, const V: usize> = [[__m512i; V]; M];

/// # Safety
/// As `dot::tile`; the processor has what `available` asks for, as for all that follow.
pub unsafe fn tile(tile: &Tile, pixels: usize, vectors: usize) {
    macro_rules! with_pixels {
        ($($pixels:literal)*) => {
            match (pixels, vectors) {
                $(
                    // SAFETY: the caller's promise.
                    ($pixels, 1) => unsafe { write::<$pixels, 1>(tile) },
                    // SAFETY: the caller's promise.
                    ($pixels, 2) => unsafe { write::<$pixels, 2>(tile) },
                )*
                _ => unreachable!("{pixels} pixels of {vectors} vectors"),
            }
        };
    }
    const { assert!(MOST_PIXELS == 12) };
    with_pixels!(1 2 3 4 5 6 7 8 9 10 11 12)
}

/// # Safety
/// As `tile`, for M pixels and V vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn write<const M: usize, const V: usize>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_si512(); V]; M];
    // SAFETY: the caller's promise.
    unsafe {
        add(&mut sums, &tile.frozen, tile.stride);
        if let Some(adapted) = &tile.adapted {
            for v in 0..V {
                let ratio = _mm512_loadu_ps(tile.ratio.add(v * CHANNELS));
                for row in &mut sums {
                    row[v] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(row[v]), ratio));
                }
            }
            add(&mut sums, adapted, tile.stride);
        }
        let floor = _mm512_set1_ps(tile.floor);
        for v in 0..V {
            let factor = _mm512_loadu_ps(tile.factor.add(v * CHANNELS));
            let bias = _mm512_loadu_ps(tile.bias.add(v * CHANNELS));
            for (m, row) in sums.iter().enumerate() {
                let at = m * tile.channels + v * CHANNELS;
                let mut value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(row[v]), factor, bias);
                if !tile.residual.is_null() {
                    value = _mm512_add_ps(value, _mm512_loadu_ps(tile.residual.add(at)));
                }
                // In this order what is not a number stays one.
                _mm512_storeu_ps(tile.into.add(at), _mm512_max_ps(floor, value));
            }
        }
    }
}

/// # Safety
/// The piece is there for M pixels and V vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn add<const M: usize, const V: usize>(sums: &mut Sums<M, V>, piece: &Piece, stride: usize) {
    let mut held = *sums;
    // SAFETY: the caller's promise.
    unsafe {
        let mut panel = piece.panel;
        for row in 0..piece.height {
            let numbers = piece.numbers.add(row * piece.across);
            for group in 0..piece.depth {
                let mut weights = [_mm512_setzero_si512(); V];
                for (v, weight) in weights.iter_mut().enumerate() {
                    *weight = _mm512_load_si512(panel.add(v).cast());
                }
                panel = panel.add(V);
                for (m, row) in held.iter_mut().enumerate() {
                    let at = numbers.add(m * stride + group * GROUP);
                    let bytes = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
                    for v in 0..V {
                        row[v] = _mm512_dpbusd_epi32(row[v], bytes, weights[v]);
                    }
                }
            }
        }
    }
    *sums = held;
}

/// The lanes of a vector that the first so many numbers take.
fn first(count: usize) -> __mmask16 {
    if count >= CHANNELS {
        !0
    } else {
        (1 << count) - 1
    }
}

/// # Safety
/// Only what `tile` says of the processor.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn largest(numbers: &[f32]) -> f32 {
    // Without its sign a number is the larger the larger its bits are, and what is no number is larger than all.
    let bits = _mm512_set1_epi32(i32::MAX);
    let mut most = [_mm512_setzero_si512(); 4];
    let (chunks, rest) = numbers.as_chunks::<{ 4 * CHANNELS }>();
    for chunk in chunks {
        for (at, most) in most.iter_mut().enumerate() {
            // SAFETY: the chunk has so many numbers.
            let values = unsafe { _mm512_loadu_si512(chunk.as_ptr().add(at * CHANNELS).cast()) };
            *most = _mm512_max_epi32(*most, _mm512_and_si512(values, bits));
        }
    }
    for part in rest.chunks(CHANNELS) {
        // SAFETY: lanes behind the end are not read.
        let values = unsafe { _mm512_maskz_loadu_epi32(first(part.len()), part.as_ptr().cast()) };
        most[0] = _mm512_max_epi32(most[0], _mm512_and_si512(values, bits));
    }
    let [a, b, c, d] = most;
    let most = _mm512_max_epi32(_mm512_max_epi32(a, b), _mm512_max_epi32(c, d));
    f32::from_bits(_mm512_reduce_max_epi32(most).cast_unsigned())
}

/// # Safety
/// Only what `tile` says of the processor.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn unsigned(numbers: &[f32], factor: f32, into: &mut [u8]) {
    let factor = _mm512_set1_ps(factor);
    let whole = |values| {
        let whole = _mm512_cvtps_epi32(_mm512_mul_ps(values, factor));
        _mm512_max_epi32(whole, _mm512_setzero_si512())
    };
    let ((from, from_rest), (to, to_rest)) = (
        numbers.as_chunks::<CHANNELS>(),
        into.as_chunks_mut::<CHANNELS>(),
    );
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both have so many numbers.
        unsafe {
            let bytes = _mm512_cvtusepi32_epi8(whole(_mm512_loadu_ps(from.as_ptr())));
            _mm_storeu_si128(to.as_mut_ptr().cast(), bytes);
        }
    }
    let lanes = first(from_rest.len());
    // SAFETY: lanes behind the end are neither read nor written.
    unsafe {
        let whole = whole(_mm512_maskz_loadu_ps(lanes, from_rest.as_ptr()));
        _mm512_mask_cvtusepi32_storeu_epi8(to_rest.as_mut_ptr().cast(), lanes, whole);
    }
}

/// # Safety
/// Only what `tile` says of the processor.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn signed(numbers: &[f32], factor: f32, into: &mut [i8], stride: usize) {
    let factor = _mm512_set1_ps(factor);
    for (at, from) in numbers.chunks(CHANNELS).enumerate() {
        let mut bytes = [0i8; CHANNELS];
        // SAFETY: lanes behind the end are not read; there is room for all lanes.
        unsafe {
            let values = _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr());
            let whole = _mm512_cvtps_epi32(_mm512_mul_ps(values, factor));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(whole));
        }
        for (group, bytes) in bytes[..from.len()].chunks_exact(GROUP).enumerate() {
            into[(at * GROUP + group) * stride..][..GROUP].copy_from_slice(bytes);
        }
    }
}
