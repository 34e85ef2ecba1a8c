//! Domains' classifiers on the feature vector.
//!
//! Every domain has its own number of classes, so heads are not in the trunk's graph: each runs on the samples of its
//! domain.

use crate::bank::Lease;

/// Numbers that are summed side by side: enough for the widest registers, and it bounds the rounding.
const SIDE_BY_SIDE: usize = 32;

/// Writes the logits of each sample, `weight · features + bias` of its row's head, one sample after the other.
///
/// `features` is `[N, F]`; `into` has as many numbers as the samples' heads have classes.
pub fn logits(features: &[f32], length: usize, samples: &[i64], lease: &Lease, into: &mut [f32]) {
    let mut offsets = Vec::with_capacity(samples.len());
    let mut end = 0;
    for sample in samples {
        offsets.push(end);
        end += lease.head(*sample).classes;
    }
    debug_assert_eq!(end, into.len());
    let mut wide = Vec::new();
    for (row, head) in lease.heads() {
        // Each weight is read once for all samples of its domain.
        for (class, bias) in head.biases().iter().enumerate() {
            let weight = head.weights(class, &mut wide);
            for (sample, offset) in offsets.iter().enumerate() {
                if samples[sample] == row {
                    let vector = &features[sample * length..][..length];
                    into[offset + class] = dot(weight, vector) + bias;
                }
            }
        }
    }
}

/// The product of two vectors of one length.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has it, as just asked.
        return unsafe { dot_avx2(a, b) };
    }
    sum_of_products(a, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    sum_of_products(a, b)
}

#[inline(always)]
fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; SIDE_BY_SIDE];
    let (left, right) = (a.chunks_exact(SIDE_BY_SIDE), b.chunks_exact(SIDE_BY_SIDE));
    let rest: f32 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (xs, ys) in left.zip(right) {
        for ((sum, x), y) in sums.iter_mut().zip(xs).zip(ys) {
            *sum += x * y;
        }
    }
    let mut width = SIDE_BY_SIDE / 2;
    while width > 0 {
        for at in 0..width {
            sums[at] += sums[at + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use super::{dot, sum_of_products};

    #[test]
    fn a_product_is_exact_to_a_millionth_whatever_the_length() {
        for length in [0, 1, 31, 32, 33, 256, 2048 + 7] {
            let number = |seed: usize| {
                (seed.wrapping_mul(2_654_435_761) >> 8 & 0xffff) as f32 / 65_536.0 - 0.5
            };
            let a: Vec<f32> = (0..length).map(number).collect();
            let b: Vec<f32> = (0..length).map(|at| number(at + 91)).collect();
            let exact: f64 = a
                .iter()
                .zip(&b)
                .map(|(x, y)| f64::from(*x) * f64::from(*y))
                .sum();
            let size: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(x * y).abs()).sum();
            for found in [dot(&a, &b), sum_of_products(&a, &b)] {
                assert!(
                    (f64::from(found) - exact).abs() <= 1e-6 * size.max(1e-9),
                    "{length}: {found}, {exact}"
                );
            }
        }
    }
}
