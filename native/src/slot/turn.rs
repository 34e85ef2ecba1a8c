//! Images with their channels last, and back: for each sample, rows become columns.

/// Rows and columns that are turned at once: they fit into few lines of a cache.
const BLOCK: usize = 16;
/// Of a block, what is turned in registers.
const PART: usize = 4;

/// Turns `from`, `[rows, columns]`, into `[columns, rows]`.
pub fn turn(from: &[f32], rows: usize, columns: usize, into: &mut [f32]) {
    assert!(from.len() == rows * columns && into.len() == from.len());
    for row in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - row);
        for column in (0..columns).step_by(BLOCK) {
            let width = BLOCK.min(columns - column);
            let (whole_height, whole_width) = (height / PART * PART, width / PART * PART);
            for y in (0..whole_height).step_by(PART) {
                for x in (column..column + whole_width).step_by(PART) {
                    // SAFETY: the parts are in both matrices.
                    unsafe {
                        part(
                            from.as_ptr().add((row + y) * columns + x),
                            columns,
                            into.as_mut_ptr().add(x * rows + row + y),
                            rows,
                        );
                    }
                }
            }
            for x in column..column + width {
                // What is left of a column that whole parts reach, or all of it.
                let start = if x < column + whole_width {
                    whole_height
                } else {
                    0
                };
                let line = &mut into[x * rows + row..][start..height];
                for (y, target) in line.iter_mut().enumerate() {
                    // SAFETY: the row and the column are in the matrix.
                    *target = unsafe { *from.get_unchecked((row + start + y) * columns + x) };
                }
            }
        }
    }
}

/// Turns a part; the lines of `from` lie `columns` apart, and those of `into` `rows`.
///
/// # Safety
/// The part is in both matrices.
#[cfg(target_arch = "x86_64")]
unsafe fn part(from: *const f32, columns: usize, into: *mut f32, rows: usize) {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    // SAFETY: the caller's promise; all x86-64 processors have these instructions.
    unsafe {
        let [mut a, mut b, mut c, mut d] =
            [0, 1, 2, 3].map(|line| _mm_loadu_ps(from.add(line * columns)));
        _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
        for (line, values) in [a, b, c, d].into_iter().enumerate() {
            _mm_storeu_ps(into.add(line * rows), values);
        }
    }
}

/// The same on other processors.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn part(from: *const f32, columns: usize, into: *mut f32, rows: usize) {
    for y in 0..PART {
        for x in 0..PART {
            // SAFETY: the caller's promise.
            unsafe { *into.add(x * rows + y) = *from.add(y * columns + x) };
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_matrix_is_turned_and_turned_back() {
        for (rows, columns) in [
            (1, 1),
            (3, 4096),
            (4, 4),
            (7, 22),
            (16, 64),
            (17, 33),
            (40, 16),
        ] {
            let from: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
            let (mut turned, mut back) = (vec![0.0; from.len()], vec![0.0; from.len()]);
            super::turn(&from, rows, columns, &mut turned);
            assert!(
                (0..from.len()).all(|at| turned[at % columns * rows + at / columns] == from[at])
            );
            super::turn(&turned, columns, rows, &mut back);
            assert_eq!(back, from);
        }
    }
}
