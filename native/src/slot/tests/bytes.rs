//! Slots in 8 bits beside whole numbers in plain loops, and the loops for VNNI beside those for any processor.

use half::f16;

use super::super::dot::{CHANNELS, GROUP, LINE, Line, MOST_PIXELS, Piece, Tile, plain};
use super::super::{Batch, Conv, Numbers, Plan, Slot, Target, dot};
use super::{conv, numbers};

const ROWS: usize = 3;
/// Where the slot's scales begin in an affine row; its biases follow at once.
const SCALE: usize = 5;

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
        Self {
            conv: conv(16, 32, [3, 3], [1, 1], [1, 1, 1, 1]),
            size: [9, 7],
            rows: vec![2, 0, 1, 2],
            matrix: true,
            residual: true,
            relu: true,
            half: false,
        }
    }
}

/// What a case is made of.
struct Values {
    weights: Vec<i8>,
    steps: Vec<f32>,
    images: Vec<f32>,
    affine: Vec<f32>,
    matrix: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn sample(&self) -> usize {
        self.size[0] * self.size[1] * self.conv.input
    }

    fn values(&self) -> Values {
        let Conv { input, output, .. } = self.conv;
        let [height, width] = self.conv.size(self.size).unwrap();
        let count = self.rows.len();
        let bytes = numbers(1, self.conv.weights());
        // Samples differ in size by much, and a few values are negative.
        let mut images = numbers(2, count * self.sample());
        for (at, value) in images.iter_mut().enumerate() {
            *value = (*value + 0.49).max(-0.01) * 10f32.powi((at / self.sample() % 5) as i32 - 2);
        }
        let rounded = |values: Vec<f32>| -> Vec<f32> {
            let round = |value: f32| {
                if self.half {
                    f16::from_f32(value).to_f32()
                } else {
                    value
                }
            };
            values.into_iter().map(round).collect()
        };
        Values {
            weights: bytes.iter().map(|value| (value * 128.0) as i8).collect(),
            steps: numbers(6, output)
                .iter()
                .map(|step| (step + 0.6) / 100.0)
                .collect(),
            images,
            affine: rounded(numbers(3, ROWS * (SCALE + 2 * output))),
            // Of one row the matrix is so small that the step of the frozen weights is its own.
            matrix: rounded(
                numbers(4, ROWS * output * input)
                    .into_iter()
                    .enumerate()
                    .map(|(at, value)| {
                        if at < output * input {
                            value * 1e-3
                        } else {
                            value
                        }
                    })
                    .collect(),
            ),
            residual: numbers(5, count * height * width * output),
        }
    }

    fn slot(&self, values: &Values) -> Slot {
        let plan = Plan {
            conv: self.conv.clone(),
            scale: SCALE,
            bias: SCALE + self.conv.output,
            relu: self.relu,
            basis: None,
        };
        Slot::in_bytes(plan, &values.weights, &values.steps).unwrap()
    }

    /// What the slot gives for some samples, where so many threads take part.
    fn run(&self, values: &Values, samples: std::ops::Range<usize>, hands: usize) -> Vec<f32> {
        let slot = self.slot(values);
        let [height, width] = self.conv.size(self.size).unwrap();
        let output = height * width * self.conv.output;
        let halves =
            |values: &[f32]| -> Vec<f16> { values.iter().copied().map(f16::from_f32).collect() };
        let (affine, matrix) = (halves(&values.affine), halves(&values.matrix));
        let bank = |single, half| {
            if self.half {
                Numbers::Half(half)
            } else {
                Numbers::Single(single)
            }
        };
        let batch = Batch {
            size: self.size,
            images: &values.images[samples.start * self.sample()..samples.end * self.sample()],
            rows: &self.rows[samples.clone()],
            affine: bank(values.affine.as_slice(), affine.as_slice()),
            affine_length: SCALE + 2 * self.conv.output,
            matrix: self
                .matrix
                .then(|| bank(values.matrix.as_slice(), matrix.as_slice())),
            residual: self
                .residual
                .then(|| &values.residual[samples.start * output..samples.end * output]),
            steps: &[],
        };
        let size = slot.check(&batch, samples.len(), self.conv.input).unwrap();
        let steps = slot.steps(&batch);
        let batch = Batch {
            steps: &steps,
            ..batch
        };
        let mut found = vec![f32::NAN; samples.len() * output];
        let cut = slot.cut(&batch, size, hands);
        // Units are taken in any order.
        for unit in (0..cut.units).rev() {
            // SAFETY: the lengths were checked.
            unsafe { slot.unit(&batch, size, Target(found.as_mut_ptr()), cut, unit) };
        }
        found
    }

    /// The same by the formula, in whole numbers.
    fn expected(&self, values: &Values) -> Vec<f32> {
        let Conv {
            input,
            output,
            kernel,
            ..
        } = self.conv;
        let [height, width] = self.conv.size(self.size).unwrap();
        let mut found = Vec::new();
        for (sample, row) in self.rows.iter().enumerate() {
            let row = *row as usize;
            let own = &values.images[sample * self.sample()..][..self.sample()];
            let step =
                (own.iter().fold(0.0f32, |most, value| most.max(value.abs())) / 255.0).max(1e-12);
            let bytes: Vec<i64> = own
                .iter()
                .map(|value| i64::from((value * (1.0 / step)).round_ties_even() as u8))
                .collect();
            for at in 0..height * width * output {
                let (place, channel) = (at / output, at % output);
                let (y, x) = (place / width, place % width);
                let pixel = |row: usize, column: usize, input_channel: usize| {
                    let y = (y * self.conv.strides[0] + row).wrapping_sub(self.conv.pads[0]);
                    let x = (x * self.conv.strides[1] + column).wrapping_sub(self.conv.pads[1]);
                    if y >= self.size[0] || x >= self.size[1] {
                        return 0;
                    }
                    bytes[(y * self.size[1] + x) * input + input_channel]
                };
                let affine = &values.affine[row * (SCALE + 2 * output) + SCALE..];
                let scale = affine[channel] * values.steps[channel];
                let own = &values.matrix[(row * output + channel) * input..][..input];
                let matrix_step = (own.iter().fold(0.0f32, |most, value| most.max(value.abs()))
                    / 127.0)
                    .max(scale.abs());
                let (mut frozen, mut adapted) = (0i64, 0i64);
                for c in 0..input {
                    for r in 0..kernel[0] {
                        for s in 0..kernel[1] {
                            let weight = values.weights
                                [((channel * input + c) * kernel[0] + r) * kernel[1] + s];
                            frozen += i64::from(weight) * pixel(r, s, c);
                        }
                    }
                    let byte = (own[c] * (1.0 / matrix_step)).round_ties_even() as i8;
                    adapted += i64::from(byte) * pixel((kernel[0] - 1) / 2, (kernel[1] - 1) / 2, c);
                }
                let (sum, factor) = if self.matrix {
                    let ratio = scale / matrix_step;
                    let frozen = (frozen as f32 * ratio).round_ties_even() as i64;
                    (frozen + adapted, matrix_step)
                } else {
                    (frozen, scale)
                };
                let mut value = f64::from(factor) * f64::from(step) * sum as f64
                    + f64::from(affine[output + channel]);
                if self.residual {
                    value += f64::from(values.residual[found.len()]);
                }
                if self.relu {
                    value = value.max(0.0);
                }
                found.push(value as f32);
            }
        }
        found
    }

    fn check(&self, what: &str) {
        let values = self.values();
        let expected = self.expected(&values);
        let largest = expected
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        let whole = self.run(&values, 0..self.rows.len(), 1);
        for (found, expected) in whole.iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= 2e-6 * largest,
                "{what}: {found} is not {expected}"
            );
        }
        for hands in [2, 7] {
            assert!(
                self.run(&values, 0..self.rows.len(), hands) == whole,
                "{what}: {hands} threads give another answer than one"
            );
        }
        let output = whole.len() / self.rows.len();
        for sample in 0..self.rows.len() {
            assert!(
                self.run(&values, sample..sample + 1, 1) == whole[sample * output..][..output],
                "{what}: sample {sample} alone has another answer than in the batch"
            );
        }
    }
}

#[test]
fn every_shape_gives_the_formula_whatever_the_batch() {
    let convs = [
        conv(16, 32, [3, 3], [1, 1], [1, 1, 1, 1]),
        conv(20, 16, [3, 3], [1, 1], [0, 0, 0, 0]),
        conv(48, 48, [3, 3], [1, 1], [2, 0, 1, 2]),
        conv(16, 64, [3, 3], [2, 2], [1, 1, 1, 1]),
        conv(12, 32, [3, 3], [2, 1], [0, 1, 0, 1]),
        conv(4, 32, [7, 7], [2, 2], [3, 3, 3, 3]),
        conv(8, 48, [1, 1], [1, 1], [0, 0, 0, 0]),
        conv(16, 16, [1, 1], [2, 2], [0, 0, 0, 0]),
        conv(4, 16, [1, 5], [1, 1], [0, 2, 0, 2]),
    ];
    for conv in convs {
        for size in [[8, 8], [9, 7], [7, 12], [9, 30]] {
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
fn matrix_residual_and_relu_are_each_left_out_and_a_bank_of_half_precision_is_read() {
    for number in 0..16 {
        let [matrix, residual, relu, half] = [1, 2, 4, 8].map(|bit| number & bit != 0);
        Case {
            matrix,
            residual,
            relu,
            half,
            ..Case::default()
        }
        .check(&format!("{matrix} {residual} {relu} {half}"));
    }
}

#[test]
fn images_of_many_units_of_work_and_of_one_pixel_are_whole() {
    for (size, samples) in [([1, 1], 3), ([3, 1], 7), ([70, 80], 2)] {
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
fn a_sample_that_is_no_number_spoils_no_other_and_one_of_zeros_is_the_bias() {
    let case = Case {
        relu: false,
        residual: false,
        ..Case::default()
    };
    let mut values = case.values();
    let right = case.run(&values, 0..4, 1);
    values.images[case.sample() + 3] = f32::NAN;
    values.images[2 * case.sample() + 3] = f32::INFINITY;
    values.images[3 * case.sample()..].fill(0.0);
    let found = case.run(&values, 0..4, 1);
    let output = found.len() / 4;
    assert!(found[..output] == right[..output]);
    assert!(
        found[output..3 * output]
            .iter()
            .all(|value| !value.is_finite())
    );
    let biases = &values.affine[2 * (SCALE + 64) + SCALE + 32..][..32];
    assert!(found[3 * output..].chunks(32).all(|pixel| pixel == biases));
}

#[test]
fn what_has_not_the_shape_is_refused() {
    let make = |conv: Conv, weights: usize, steps: usize| {
        let plan = Plan {
            conv,
            scale: 0,
            bias: 32,
            relu: false,
            basis: None,
        };
        Slot::in_bytes(plan, &vec![0; weights], &vec![1.0; steps]).err()
    };
    let conv = Case::default().conv;
    let weights = conv.weights();
    assert!(make(conv.clone(), weights, 32).is_none());
    assert!(
        make(conv.clone(), weights - 1, 32)
            .unwrap()
            .contains("shape")
    );
    assert!(make(conv.clone(), weights, 31).unwrap().contains("shape"));
    let odd = Conv { input: 6, ..conv };
    let message = make(odd.clone(), odd.weights(), 32).unwrap();
    assert!(
        message.contains("6 channels of the input are no multiple of 4"),
        "{message}"
    );
}

/// The loops that the processor is fast with, where it has them, are those in plain code.
#[test]
fn all_processors_give_one_answer() {
    let values = numbers(7, 1000);
    for count in [1, 4, 15, 16, 17, 63, 64, 65, 100, 1000] {
        let mut part = values[..count].to_vec();
        assert_eq!(dot::largest(&part), plain::largest(&part));
        let (mut found, mut expected) = (vec![9; count + 1], vec![9; count + 1]);
        dot::unsigned(&part, 700.0, &mut found[..count]);
        plain::unsigned(&part, 700.0, &mut expected[..count]);
        assert_eq!(found, expected);
        part[count / 2] = f32::NAN;
        assert!(dot::largest(&part).is_nan() && plain::largest(&part).is_nan());
    }
    for count in [4, 12, 16, 20, 60, 64, 68] {
        let (mut found, mut expected) = (vec![9; 20 * 70], vec![9; 20 * 70]);
        dot::signed(&values[..count], 300.0, &mut found, 70);
        plain::signed(&values[..count], 300.0, &mut expected, 70);
        assert_eq!(found, expected);
    }
    for pixels in 1..=MOST_PIXELS {
        for vectors in [1, 2] {
            let given = Given::new(vectors);
            assert_eq!(
                given.tile(|tile| unsafe { dot::tile(tile, pixels, vectors) }),
                given.tile(|tile| unsafe { plain::tile(tile, pixels, vectors) }),
                "{pixels} pixels of {vectors} vectors"
            );
        }
    }
}

/// What a tile points to, of two pieces of three groups.
struct Given {
    bytes: Vec<u8>,
    panel: Vec<Line>,
    numbers: Vec<f32>,
    channels: usize,
}

impl Given {
    fn new(vectors: usize) -> Self {
        let byte = |seed: usize| ((seed * 2_654_435_761) >> 7) as u8;
        Self {
            bytes: (0..MOST_PIXELS * 8 + 200).map(byte).collect(),
            panel: (0..6 * vectors)
                .map(|line| Line(std::array::from_fn(|at| byte(line * LINE + at + 99) as i8)))
                .collect(),
            numbers: numbers(8, 4 * CHANNELS * vectors),
            channels: vectors * CHANNELS,
        }
    }

    fn tile(&self, write: impl Fn(&Tile)) -> Vec<f32> {
        let piece = Piece {
            numbers: self.bytes.as_ptr(),
            across: 100,
            height: 2,
            depth: 3,
            panel: self.panel.as_ptr(),
        };
        let residual = numbers(9, MOST_PIXELS * self.channels);
        let mut into = vec![-1.0; MOST_PIXELS * self.channels];
        let of = |part: usize| self.numbers[part * self.channels..].as_ptr();
        write(&Tile {
            stride: 2 * GROUP,
            frozen: piece,
            adapted: Some(Piece { height: 1, ..piece }),
            ratio: of(0),
            factor: of(1),
            bias: of(2),
            residual: residual.as_ptr(),
            into: into.as_mut_ptr(),
            channels: self.channels,
            floor: 0.0,
        });
        into
    }
}
