//! Slots whose matrices are `up · V` beside the same slots with the whole matrices.

use half::f16;

use super::super::{Batch, Conv, Numbers, Plan, Slot, Target};
use super::{conv, numbers};

const ROWS: usize = 3;
/// Where the slot's scales begin in an affine row; its biases follow at once.
const SCALE: usize = 5;

struct Case {
    conv: Conv,
    rank: usize,
    size: [usize; 2],
    rows: Vec<i64>,
    residual: bool,
    relu: bool,
    half: bool,
    /// The slot is in 8 bits.
    bytes: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            conv: conv(16, 32, [3, 3], [1, 1], [1, 1, 1, 1]),
            rank: 5,
            size: [9, 7],
            rows: vec![2, 0, 1, 2],
            residual: true,
            relu: true,
            half: false,
            bytes: false,
        }
    }
}

/// Numbers of so few bits that their products and the sums of those are exact, in whatever order, and in half precision.
fn short(seed: u64, count: usize) -> Vec<f32> {
    numbers(seed, count)
        .into_iter()
        .map(|number| (number * 64.0).round() / 64.0)
        .collect()
}

impl Case {
    fn slot(&self, basis: Option<&[f32]>) -> Slot {
        let plan = Plan {
            conv: self.conv.clone(),
            scale: SCALE,
            bias: SCALE + self.conv.output,
            relu: self.relu,
            basis,
        };
        let weights = numbers(1, self.conv.weights());
        if self.bytes {
            let weights: Vec<i8> = weights.iter().map(|value| (value * 128.0) as i8).collect();
            Slot::in_bytes(plan, &weights, &vec![0.01; self.conv.output]).unwrap()
        } else {
            Slot::new(plan, &weights).unwrap()
        }
    }

    /// What a slot gives with such matrices, where so many threads take part.
    fn run(&self, slot: &Slot, matrix: &[f32], hands: usize) -> Vec<f32> {
        let Conv { input, output, .. } = self.conv;
        let [height, width] = self.conv.size(self.size).unwrap();
        let count = self.rows.len();
        let images: Vec<f32> = numbers(2, count * self.size[0] * self.size[1] * input)
            .into_iter()
            .map(|value| value + 0.5)
            .collect();
        let affine = short(3, ROWS * (SCALE + 2 * output));
        let residual = numbers(5, count * height * width * output);
        let halves =
            |values: &[f32]| -> Vec<f16> { values.iter().copied().map(f16::from_f32).collect() };
        let (half_affine, half_matrix) = (halves(&affine), halves(matrix));
        let batch = Batch {
            size: self.size,
            images: &images,
            rows: &self.rows,
            affine: if self.half {
                Numbers::Half(&half_affine)
            } else {
                Numbers::Single(&affine)
            },
            affine_length: SCALE + 2 * output,
            matrix: Some(if self.half {
                Numbers::Half(&half_matrix)
            } else {
                Numbers::Single(matrix)
            }),
            residual: self.residual.then_some(residual.as_slice()),
            steps: &[],
        };
        let size = slot.check(&batch, count, input).unwrap();
        let steps = slot.steps(&batch);
        let batch = Batch {
            steps: &steps,
            ..batch
        };
        let mut found = vec![f32::NAN; residual.len()];
        let cut = slot.cut(&batch, size, hands);
        // Units are taken in any order.
        for unit in (0..cut.units).rev() {
            // SAFETY: the lengths were checked.
            unsafe { slot.unit(&batch, size, Target(found.as_mut_ptr()), cut, unit) };
        }
        found
    }

    /// @param what to say where they differ by more than a share of the largest number
    fn check(&self, what: &str) {
        let Conv { input, output, .. } = self.conv;
        let (up, basis) = (
            short(6, ROWS * output * self.rank),
            short(7, self.rank * input),
        );
        let whole: Vec<f32> = up
            .chunks_exact(self.rank)
            .flat_map(|up| {
                (0..input).map(|channel| {
                    let column = basis.iter().skip(channel).step_by(input);
                    up.iter().zip(column).map(|(up, basis)| up * basis).sum()
                })
            })
            .collect();
        // Half precision has not enough bits for the whole matrices.
        let beside = Self {
            conv: self.conv.clone(),
            rows: self.rows.clone(),
            half: false,
            ..*self
        };
        let expected = beside.run(&beside.slot(None), &whole, 1);
        let largest = expected
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        // Bytes of the same matrix are the same bytes.
        let most = if self.bytes { 0.0 } else { 2e-6 * largest };
        let slot = self.slot(Some(&basis));
        for hands in [1, 2, 7] {
            let found = self.run(&slot, &up, hands);
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (found - expected).abs() <= most,
                    "{what}, {hands} threads: {found} is not {expected} at {at}"
                );
            }
        }
    }
}

fn convs() -> [Conv; 8] {
    [
        conv(16, 32, [3, 3], [1, 1], [1, 1, 1, 1]),
        conv(48, 48, [3, 3], [1, 1], [2, 0, 1, 2]),
        conv(16, 64, [3, 3], [2, 2], [1, 1, 1, 1]),
        conv(12, 32, [3, 3], [2, 1], [0, 1, 0, 1]),
        conv(4, 32, [7, 7], [2, 2], [3, 3, 3, 3]),
        conv(40, 48, [1, 1], [1, 1], [0, 0, 0, 0]),
        conv(16, 16, [1, 1], [2, 2], [0, 0, 0, 0]),
        conv(4, 16, [1, 5], [1, 1], [0, 2, 0, 2]),
    ]
}

#[test]
fn every_shape_and_rank_gives_the_answer_of_the_whole_matrix() {
    let stem = conv(3, 16, [3, 3], [1, 1], [1, 1, 1, 1]);
    for bytes in [false, true] {
        let convs = convs().into_iter().chain((!bytes).then(|| stem.clone()));
        for conv in convs {
            let mut ranks = vec![1, 5, 16, 17, 33, conv.input];
            ranks.retain(|rank| *rank <= conv.input);
            for rank in ranks {
                for size in [[9, 7], [17, 30]] {
                    Case {
                        conv: conv.clone(),
                        rank,
                        size,
                        bytes,
                        ..Case::default()
                    }
                    .check(&format!("{conv:?} of {size:?}, rank {rank}, {bytes}"));
                }
            }
        }
    }
}

#[test]
fn residual_and_relu_are_each_left_out_and_a_bank_of_half_precision_is_read() {
    for number in 0..16 {
        let [residual, relu, half, bytes] = [1, 2, 4, 8].map(|bit| number & bit != 0);
        for strides in [[1, 1], [2, 2]] {
            Case {
                conv: Conv {
                    strides,
                    ..Case::default().conv
                },
                residual,
                relu,
                half,
                bytes,
                ..Case::default()
            }
            .check(&format!("{residual} {relu} {half} {bytes} {strides:?}"));
        }
    }
}

#[test]
fn units_of_some_channels_or_some_rows_and_images_of_one_pixel_are_whole() {
    for strides in [[1, 1], [2, 2]] {
        for (size, samples) in [([1, 1], 3), ([8, 8], 1), ([3, 1], 7), ([70, 80], 2)] {
            Case {
                conv: conv(16, 128, [3, 3], strides, [1, 1, 1, 1]),
                size,
                rows: (0..samples).map(|sample| (sample + 1) % 3).collect(),
                ..Case::default()
            }
            .check(&format!("{samples} of {size:?}, {strides:?}"));
        }
    }
}

#[test]
fn what_does_not_fit_the_basis_is_refused() {
    let Case { conv, .. } = Case::default();
    let weights = numbers(1, conv.weights());
    let bytes = vec![1; conv.weights()];
    let plan = |basis| Plan {
        conv: conv.clone(),
        scale: 0,
        bias: 32,
        relu: false,
        basis: Some(basis),
    };
    let numbers = numbers(2, 17 * 16);
    for length in [0, 15, 5 * 16 + 1, 17 * 16] {
        let basis = &numbers[..length];
        for made in [
            Slot::new(plan(basis), &weights),
            Slot::in_bytes(plan(basis), &bytes, &[1.0; 32]),
        ] {
            let message = made.err().unwrap();
            assert!(message.contains("has not 1 to 16 rows of 16"), "{message}");
        }
    }
    let slot = Slot::new(plan(&numbers[..5 * 16]), &weights).unwrap();
    let up = vec![0.0; 2 * 32 * 6];
    let check = |matrix: Option<&[f32]>| {
        let batch = Batch {
            size: [4, 4],
            images: &[0.0; 16 * 16],
            rows: &[1],
            affine: Numbers::Single(&[0.0; 128]),
            affine_length: 64,
            matrix: matrix.map(Numbers::Single),
            residual: None,
            steps: &[],
        };
        slot.check(&batch, 1, 16)
    };
    assert_eq!(check(Some(&up[..2 * 32 * 5])), Ok([4, 4]));
    assert_eq!(
        check(Some(&up)),
        Err("matrices for a basis of 5 rows do not fit the slot".to_owned())
    );
    assert_eq!(
        check(None),
        Err("there are no matrices for the slot's basis".to_owned())
    );
}
