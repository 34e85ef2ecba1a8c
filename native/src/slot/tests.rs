//! The operator beside the formula, in plain loops and double precision.

mod aligned;
mod basis;
mod bytes;

use half::f16;

use super::{Batch, Conv, Numbers, Plan, Slot, Target};

/// Numbers in [-0.5, 0.5), the same for a seed.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

struct Case {
    conv: Conv,
    size: [usize; 2],
    rows: Vec<i64>,
    matrix: bool,
    residual: bool,
    relu: bool,
    half: bool,
}

impl Default for Case {
    fn default() -> Self {
        let conv = Conv {
            input: 16,
            output: 32,
            kernel: [3, 3],
            strides: [1, 1],
            pads: [1, 1, 1, 1],
        };
        Self {
            conv,
            size: [9, 7],
            rows: vec![2, 0, 1, 2],
            matrix: true,
            residual: true,
            relu: true,
            half: false,
        }
    }
}

/// Bank rows, and numbers of an affine row, of which the slot's scales and biases lie somewhere in the middle.
const ROWS: usize = 3;

impl Case {
    /// The largest difference, relative to the largest number that is expected, where so many threads take part.
    fn error(&self, hands: usize) -> f64 {
        let Conv {
            input,
            output,
            kernel,
            ..
        } = self.conv;
        let [height, width] = self.conv.size(self.size).unwrap();
        let weights = numbers(1, output * input * kernel[0] * kernel[1]);
        let images = numbers(2, self.rows.len() * self.size[0] * self.size[1] * input);
        let (scale, bias) = (5, 9 + output);
        let affine_length = bias + output + 3;
        let mut affine = numbers(3, ROWS * affine_length);
        let mut matrix = numbers(4, ROWS * output * input);
        let residual = numbers(5, self.rows.len() * height * width * output);
        let halves = |values: &mut Vec<f32>| {
            let half: Vec<f16> = values.iter().copied().map(f16::from_f32).collect();
            *values = half.iter().map(|value| value.to_f32()).collect();
            half
        };
        let (half_affine, half_matrix) = if self.half {
            (halves(&mut affine), halves(&mut matrix))
        } else {
            Default::default()
        };
        let bank = |single, half| {
            if self.half {
                Numbers::Half(half)
            } else {
                Numbers::Single(single)
            }
        };
        let batch = Batch {
            size: self.size,
            images: &images,
            rows: &self.rows,
            affine: bank(affine.as_slice(), half_affine.as_slice()),
            affine_length,
            matrix: self
                .matrix
                .then(|| bank(matrix.as_slice(), half_matrix.as_slice())),
            residual: self.residual.then_some(residual.as_slice()),
            steps: &[],
        };
        let plan = Plan {
            conv: self.conv.clone(),
            scale,
            bias,
            relu: self.relu,
            basis: None,
        };
        let slot = Slot::new(plan, &weights).unwrap();
        let mut found = vec![f32::NAN; residual.len()];
        let size = slot.check(&batch, self.rows.len(), input).unwrap();
        assert_eq!(size, [height, width]);
        let cut = slot.cut(&batch, size, hands);
        // Units are taken in any order.
        for unit in (0..cut.units).rev() {
            // SAFETY: the lengths were checked.
            unsafe { slot.unit(&batch, size, Target(found.as_mut_ptr()), cut, unit) };
        }
        let (mut worst, mut largest) = (0.0f64, 0.0f64);
        for (sample, row) in self.rows.iter().enumerate() {
            let row = *row as usize;
            for at in 0..height * width * output {
                let (place, channel) = (at / output, at % output);
                let (y, x) = (place / width, place % width);
                let pixel = |row: usize, column: usize, input_channel: usize| {
                    let y = (y * self.conv.strides[0] + row).wrapping_sub(self.conv.pads[0]);
                    let x = (x * self.conv.strides[1] + column).wrapping_sub(self.conv.pads[1]);
                    if y >= self.size[0] || x >= self.size[1] {
                        return 0.0;
                    }
                    f64::from(
                        images[((sample * self.size[0] + y) * self.size[1] + x) * input
                            + input_channel],
                    )
                };
                let (mut z, mut adapted) = (0.0, 0.0);
                for c in 0..input {
                    for r in 0..kernel[0] {
                        for s in 0..kernel[1] {
                            let weight =
                                weights[((channel * input + c) * kernel[0] + r) * kernel[1] + s];
                            z += f64::from(weight) * pixel(r, s, c);
                        }
                    }
                    let number = f64::from(matrix[(row * output + channel) * input + c]);
                    adapted += number * pixel((kernel[0] - 1) / 2, (kernel[1] - 1) / 2, c);
                }
                let of = |start: usize| f64::from(affine[row * affine_length + start + channel]);
                let mut value = of(scale) * z + of(bias);
                if self.matrix {
                    value += adapted;
                }
                let at = sample * height * width * output + at;
                if self.residual {
                    value += f64::from(residual[at]);
                }
                if self.relu {
                    value = value.max(0.0);
                }
                largest = largest.max(value.abs());
                let apart = (f64::from(found[at]) - value).abs();
                if apart.is_nan() || apart > worst {
                    worst = apart;
                }
            }
        }
        worst / largest
    }

    fn check(&self, what: &str) {
        for hands in [1, 2, 7] {
            let error = self.error(hands);
            assert!(error < 2e-6, "{what}, {hands} threads: {error}");
        }
    }
}

fn conv(
    input: usize,
    output: usize,
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
) -> Conv {
    Conv {
        input,
        output,
        kernel,
        strides,
        pads,
    }
}

#[test]
fn every_shape_gives_the_formula() {
    let convs = [
        conv(16, 32, [3, 3], [1, 1], [1, 1, 1, 1]),
        conv(32, 16, [3, 3], [1, 1], [0, 0, 0, 0]),
        conv(48, 48, [3, 3], [1, 1], [2, 0, 1, 2]),
        conv(16, 64, [3, 3], [2, 2], [1, 1, 1, 1]),
        conv(16, 32, [3, 3], [2, 1], [0, 1, 0, 1]),
        conv(3, 16, [3, 3], [1, 1], [1, 1, 1, 1]),
        conv(3, 32, [7, 7], [2, 2], [3, 3, 3, 3]),
        conv(5, 48, [1, 1], [1, 1], [0, 0, 0, 0]),
        conv(16, 16, [1, 1], [2, 2], [0, 0, 0, 0]),
        conv(4, 16, [1, 5], [1, 1], [0, 2, 0, 2]),
    ];
    for conv in convs {
        for size in [[8, 8], [9, 7], [7, 12], [17, 30]] {
            Case {
                conv: conv.clone(),
                size,
                ..Case::default()
            }
            .check(&format!("{conv:?} of {size:?}"));
        }
    }
}

#[test]
fn matrix_residual_and_relu_are_each_left_out() {
    for number in 0..8 {
        let [matrix, residual, relu] = [number & 1 != 0, number & 2 != 0, number & 4 != 0];
        for strides in [[1, 1], [2, 2]] {
            let conv = Conv {
                strides,
                ..Case::default().conv
            };
            Case {
                conv,
                matrix,
                residual,
                relu,
                ..Case::default()
            }
            .check(&format!("{matrix} {residual} {relu} {strides:?}"));
        }
    }
}

#[test]
fn a_bank_of_half_precision_is_read_exactly() {
    for strides in [[1, 1], [2, 2]] {
        let conv = Conv {
            strides,
            ..Case::default().conv
        };
        Case {
            conv,
            half: true,
            ..Case::default()
        }
        .check(&format!("{strides:?}"));
    }
}

#[test]
fn batches_of_many_units_of_work_and_of_one_tile_are_whole() {
    for (size, samples) in [
        ([1, 1], 1),
        ([2, 2], 40),
        ([3, 1], 7),
        ([40, 40], 3),
        ([64, 64], 1),
    ] {
        let rows = (0..samples).map(|sample| sample % 3).collect();
        Case {
            size,
            rows,
            ..Case::default()
        }
        .check(&format!("{samples} of {size:?}"));
    }
}

#[test]
fn a_small_batch_is_cut_into_work_for_all_who_take_part() {
    let wide = Conv {
        output: 128,
        ..Case::default().conv
    };
    let strided = Conv {
        strides: [2, 2],
        ..wide.clone()
    };
    for conv in [wide, strided] {
        let weights = numbers(1, conv.output * conv.input * 9);
        let plan = Plan {
            conv,
            scale: 0,
            bias: 128,
            relu: false,
            basis: None,
        };
        let slot = Slot::new(plan, &weights).unwrap();
        let images = numbers(2, 64 * 16);
        let affine = numbers(3, 256);
        let batch = Batch {
            size: [8, 8],
            images: &images,
            rows: &[0],
            affine: Numbers::Single(&affine),
            affine_length: 256,
            matrix: None,
            residual: None,
            steps: &[],
        };
        let size = slot.check(&batch, 1, 16).unwrap();
        assert_eq!(slot.cut(&batch, size, 1).units, 1);
        assert!(slot.cut(&batch, size, 2).units >= 2);
    }
}

#[test]
fn what_is_not_a_number_stays_one() {
    let conv = Case::default().conv;
    let plan = Plan {
        conv: conv.clone(),
        scale: 0,
        bias: 32,
        relu: true,
        basis: None,
    };
    let slot = Slot::new(plan, &numbers(1, 32 * 16 * 9)).unwrap();
    let images = vec![f32::NAN; 16 * 16];
    let affine = vec![1.0; 64];
    let batch = Batch {
        size: [4, 4],
        images: &images,
        rows: &[0],
        affine: Numbers::Single(&affine),
        affine_length: 64,
        matrix: None,
        residual: None,
        steps: &[],
    };
    let mut found = vec![0.0; 16 * 32];
    // SAFETY: the lengths are right.
    unsafe {
        slot.unit(
            &batch,
            [4, 4],
            Target(found.as_mut_ptr()),
            slot.cut(&batch, [4, 4], 1),
            0,
        )
    };
    assert!(found.iter().all(|value| value.is_nan()));
}

#[test]
fn wrong_lengths_and_rows_are_refused() {
    let Case { conv, .. } = Case::default();
    let slot = Slot::new(
        Plan {
            conv,
            scale: 0,
            bias: 32,
            relu: false,
            basis: None,
        },
        &numbers(1, 32 * 16 * 9),
    )
    .unwrap();
    let (images, affine, matrix, residual) = (
        numbers(1, 2 * 16 * 16),
        numbers(2, 2 * 64),
        numbers(3, 2 * 512),
        numbers(4, 2 * 16 * 32),
    );
    let right = Batch {
        size: [4, 4],
        images: &images,
        rows: &[0, 1],
        affine: Numbers::Single(&affine),
        affine_length: 64,
        matrix: Some(Numbers::Single(&matrix)),
        residual: Some(&residual),
        steps: &[],
    };
    assert!(slot.check(&right, 2, 16).is_ok());
    assert!(slot.check(&right, 2, 8).is_err(), "channels");
    assert!(slot.check(&right, 3, 16).is_err(), "samples");
    assert!(
        slot.check(
            &Batch {
                rows: &[0, 2],
                ..right
            },
            2,
            16
        )
        .is_err(),
        "a row behind the bank"
    );
    assert!(
        slot.check(
            &Batch {
                rows: &[0, -1],
                ..right
            },
            2,
            16
        )
        .is_err(),
        "a row before the bank"
    );
    assert!(
        slot.check(
            &Batch {
                images: &images[1..],
                ..right
            },
            2,
            16
        )
        .is_err(),
        "images"
    );
    assert!(
        slot.check(
            &Batch {
                affine_length: 63,
                ..right
            },
            2,
            16
        )
        .is_err(),
        "affine"
    );
    assert!(
        slot.check(
            &Batch {
                matrix: Some(Numbers::Single(&matrix[1..])),
                ..right
            },
            2,
            16
        )
        .is_err(),
        "matrix"
    );
    assert!(
        slot.check(
            &Batch {
                residual: Some(&residual[1..]),
                ..right
            },
            2,
            16
        )
        .is_err(),
        "residual"
    );
}
