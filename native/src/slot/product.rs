//! The inner loop of the operator: rows of numbers times a panel of weights, in registers.

use pulp::Simd;

/// Rows that are held in registers at once where there are 16 of them; with two vectors of columns each, the weights'
/// two vectors and one number, that fills them.
const ROWS_OF_16_REGISTERS: usize = 6;
/// The same where there are 32.
const ROWS_OF_32_REGISTERS: usize = 12;

/// Most rows of one product.
pub const fn most_rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 {
        ROWS_OF_32_REGISTERS
    } else {
        ROWS_OF_16_REGISTERS
    }
}

/// A piece of a product: for each row `depth` numbers, times as many rows of a panel.
#[derive(Clone, Copy)]
pub struct Piece {
    /// The first row's numbers.
    pub numbers: *const f32,
    /// From a row's numbers to the next row's.
    pub stride: usize,
    /// `[depth, V * lanes]`
    pub panel: *const f32,
    /// Length of the sum.
    pub depth: usize,
}

/// `scale * (frozen pieces) + adapted piece`, for rows of one sample and a panel of channels.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// What the scale applies to.
    pub frozen: &'a [Piece],
    /// One for each channel of the panel.
    pub scale: *const f32,
    /// The matrix's piece, and the factor that its product is taken with.
    pub adapted: Option<(Piece, f32)>,
}

/// Sums in registers: M rows of V vectors.
pub type Sums<S, const M: usize, const V: usize> = [[<S as Simd>::f32s; V]; M];

/// # Safety
/// At least one vector is there to read.
#[inline(always)]
pub unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's promise; vectors of numbers have no invalid bits.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// There is room for one vector, which nobody else uses.
#[inline(always)]
pub unsafe fn store<S: Simd>(to: *mut f32, value: S::f32s) {
    // SAFETY: the caller's promise.
    unsafe { to.cast::<S::f32s>().write_unaligned(value) }
}

impl Product<'_> {
    /// # Safety
    /// All pieces have M rows of their depth at their stride, and panels and scale have V vectors.
    #[inline(always)]
    pub unsafe fn sums<S: Simd, const M: usize, const V: usize>(&self, simd: S) -> Sums<S, M, V> {
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        // SAFETY: the caller's promise.
        unsafe {
            for piece in self.frozen {
                sums = add::<S, M, V>(simd, sums, piece);
            }
            let (before, after) = match self.adapted {
                Some((_, factor)) => (1.0 / factor, factor),
                None => (1.0, 1.0),
            };
            let before = simd.splat_f32s(before);
            for v in 0..V {
                let scale = simd.mul_f32s(load::<S>(self.scale.add(v * S::F32_LANES)), before);
                for row in &mut sums {
                    row[v] = simd.mul_f32s(row[v], scale);
                }
            }
            if let Some((piece, _)) = &self.adapted {
                sums = add::<S, M, V>(simd, sums, piece);
                let after = simd.splat_f32s(after);
                for row in &mut sums {
                    for sum in row {
                        *sum = simd.mul_f32s(*sum, after);
                    }
                }
            }
        }
        sums
    }
}

/// The sums with a piece's products.
///
/// # Safety
/// The piece has M rows of its depth at its stride, and a panel of V vectors.
#[inline(always)]
pub unsafe fn add<S: Simd, const M: usize, const V: usize>(
    simd: S,
    mut sums: Sums<S, M, V>,
    piece: &Piece,
) -> Sums<S, M, V> {
    // SAFETY: the caller's promise.
    unsafe {
        for at in 0..piece.depth {
            let mut weights = [simd.splat_f32s(0.0); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = load::<S>(piece.panel.add((at * V + v) * S::F32_LANES));
            }
            for (m, row) in sums.iter_mut().enumerate() {
                let number = simd.splat_f32s(*piece.numbers.add(m * piece.stride + at));
                for v in 0..V {
                    row[v] = simd.mul_add_f32s(number, weights[v], row[v]);
                }
            }
        }
    }
    sums
}

/// Calls `$call::<S, M, V>(...)` with the number of rows as a constant.
macro_rules! with_rows {
    ($rows:expr, $simd:ty, $vectors:tt, $call:ident, $args:tt) => {
        match $rows {
            1 => with_rows!(@ $call, $simd, 1, $vectors, $args),
            2 => with_rows!(@ $call, $simd, 2, $vectors, $args),
            3 => with_rows!(@ $call, $simd, 3, $vectors, $args),
            4 => with_rows!(@ $call, $simd, 4, $vectors, $args),
            5 => with_rows!(@ $call, $simd, 5, $vectors, $args),
            6 => with_rows!(@ $call, $simd, 6, $vectors, $args),
            7 => with_rows!(@ $call, $simd, 7, $vectors, $args),
            8 => with_rows!(@ $call, $simd, 8, $vectors, $args),
            9 => with_rows!(@ $call, $simd, 9, $vectors, $args),
            10 => with_rows!(@ $call, $simd, 10, $vectors, $args),
            11 => with_rows!(@ $call, $simd, 11, $vectors, $args),
            _ => with_rows!(@ $call, $simd, 12, $vectors, $args),
        }
    };
    (@ $call:ident, $simd:ty, $rows:literal, $vectors:tt, ($($arg:expr),*)) => {
        $call::<$simd, $rows, $vectors>($($arg),*)
    };
}
pub(super) use with_rows;

/// Cuts `count` rows into parts of nearly one size, none of which has more than `most`.
pub fn even_parts(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = count.div_ceil(most).max(1);
    (0..parts).map(move |part| (count * part / parts, count * (part + 1) / parts))
}
