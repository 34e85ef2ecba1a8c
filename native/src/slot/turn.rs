//! Images with their channels last, and back: for each sample, rows become columns.

/// Rows and columns that are turned at once: they fit into few lines of a cache.
const BLOCK: usize = 16;

/// Turns `from`, `[rows, columns]`, into `[columns, rows]`.
pub fn turn(from: &[f32], rows: usize, columns: usize, into: &mut [f32]) {
    assert!(from.len() == rows * columns && into.len() == from.len());
    for row in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - row);
        for column in (0..columns).step_by(BLOCK) {
            let width = BLOCK.min(columns - column);
            for x in column..column + width {
                let line = &mut into[x * rows + row..][..height];
                for (y, target) in line.iter_mut().enumerate() {
                    // SAFETY: the row and the column are in the matrix.
                    *target = unsafe { *from.get_unchecked((row + y) * columns + x) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_matrix_is_turned_and_turned_back() {
        for (rows, columns) in [(1, 1), (3, 4096), (16, 64), (17, 33), (40, 16)] {
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
