//! Who may read and write a row, and when.

use std::ffi::CString;

use half::f16;

use super::*;

fn bank() -> Arc<Bank> {
    let name = |name: &str| CString::new(name).unwrap();
    let single = SingleInput {
        name: name("scale"),
        dims: vec![1, 2],
        offset: 1,
    };
    let tensor = BankTensor {
        name: name("affine"),
        dims: vec![3],
        single: vec![single],
    };
    let matrix = BankTensor {
        name: name("matrix"),
        dims: vec![2, 3],
        single: Vec::new(),
    };
    let size = Size {
        rows: 5,
        adapters: Span {
            affine: 4,
            matrices: None,
        },
        features: 2,
    };
    Arc::new(Bank::new(vec![tensor, matrix], size, false).unwrap())
}

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect()
}

fn extent(own: usize) -> Extent {
    Extent {
        own,
        classes: 1,
        half_head: false,
    }
}

/// A row that has so many tensors itself, with 2.5 in the middle of its affine row and 7 in its matrix.
fn write(bank: &Bank, row: usize, own: usize) {
    bank.begin(row, extent(own)).unwrap();
    if own > 0 {
        bank.write(row, 0, 4, &bytes_of(&[2.5])).unwrap();
    }
    if own > 1 {
        bank.write(row, 1, 0, &bytes_of(&[7.0; 6])).unwrap();
    }
    bank.write_head(row, 0, &bytes_of(&[3.0, 1.0, 2.0]))
        .unwrap();
    bank.commit(row).unwrap();
}

fn head_of(lease: &Lease, row: i64) -> Vec<f32> {
    let head = lease.head(row);
    [head.biases(), head.weights(0, &mut Vec::new())].concat()
}

/// The numbers of a tensor of an adapter row.
fn numbers(bank: &Bank, tensor: usize, row: usize) -> Vec<f32> {
    let count = bank.tensors[tensor].elements();
    let memory = bank.regions.as_ref().unwrap()[tensor]
        .as_ptr()
        .cast::<f32>();
    (0..count)
        .map(|at| unsafe { memory.add(row * count + at).read() })
        .collect()
}

fn refusal<T>(result: Result<T, Failure>) -> Failure {
    result.err().expect("refused")
}

#[test]
fn a_row_can_be_leased_when_it_is_whole_and_until_it_is_cleared() {
    let bank = bank();
    assert_eq!(refusal(bank.lease(&[1])), "bank row 1 is empty");
    bank.begin(1, extent(1)).unwrap();
    assert_eq!(refusal(bank.lease(&[1])), "bank row 1 is empty");
    write(&bank, 1, 2);
    let lease = bank.lease(&[1, 1]).unwrap();
    assert_eq!(head_of(&lease, 1), [3.0, 1.0, 2.0]);
    assert!(lease.only().is_some());
    bank.clear(1);
    assert_eq!(refusal(bank.lease(&[1])), "bank row 1 is empty");
    for row in [-1, 5, i64::MAX] {
        assert_eq!(
            refusal(bank.lease(&[row])),
            format!("bank row {row} is empty")
        );
    }
}

#[test]
fn a_row_in_a_run_is_neither_written_nor_given_back() {
    let bank = bank();
    write(&bank, 1, 2);
    write(&bank, 2, 2);
    let lease = bank.lease(&[2, 1]).unwrap();
    assert_eq!(lease.only(), None);
    assert_eq!(refusal(bank.begin(1, extent(0))), "bank row 1 is in a run");
    bank.clear(1);
    assert_eq!(refusal(bank.begin(1, extent(0))), "bank row 1 is in a run");
    assert_eq!(head_of(&lease, 1), [3.0, 1.0, 2.0]);
    drop(lease);
    write(&bank, 1, 2);
}

#[test]
fn a_write_beyond_a_row_is_refused() {
    let bank = bank();
    assert_eq!(
        refusal(bank.write(1, 0, 0, &[0])),
        "bank row 1 is not being written"
    );
    bank.begin(1, extent(1)).unwrap();
    assert!(bank.write(1, 0, 0, &[0; 12]).is_ok());
    assert!(bank.write(1, 0, 1, &[0; 12]).is_err());
    assert!(bank.write(1, 0, usize::MAX, &[0; 2]).is_err());
    assert!(bank.write(1, 1, 0, &[0]).is_err());
    assert!(bank.write_head(1, 1, &[0; 12]).is_err());
    assert!(bank.begin(5, extent(0)).is_err());
    assert!(bank.commit(0).is_err());
}

#[test]
fn a_row_has_the_bases_tensors_where_it_has_none_itself() {
    let bank = bank();
    for (row, own) in [(0, 2), (1, 0), (2, 1), (3, 2), (4, 0)] {
        write(&bank, row, own);
    }
    let rows = |samples: &[i64]| {
        let lease = bank.lease(samples).unwrap();
        samples
            .iter()
            .map(|&row| lease.adapter_rows(row))
            .map(|rows| [rows.affine, rows.matrices])
            .collect::<Vec<_>>()
    };
    let [heads, affine, whole] = [rows(&[0, 1, 4]), rows(&[2]), rows(&[3])];
    assert_eq!(heads, [[0, 0]; 3]);
    assert_eq!((affine[0][0] > 0, affine[0][1]), (true, 0));
    assert_eq!((whole[0][0] > 0, whole[0][0]), (true, whole[0][1]));
    let only = |samples: &[i64]| bank.lease(samples).unwrap().only().is_some();
    assert_eq!(
        [only(&[1, 4, 0, 1]), only(&[1, 2]), only(&[3, 3])],
        [true, false, true]
    );
}

#[test]
fn adapter_rows_are_used_again_and_their_matrices_are_zero_then() {
    let bank = bank();
    write(&bank, 0, 2);
    let adapter = |row: i64| bank.lease(&[row]).unwrap().adapter_rows(row).affine;
    for row in [1, 2, 3] {
        write(&bank, row, 2);
    }
    assert_eq!(
        refusal(bank.begin(4, extent(1))),
        "all 4 adapters of the bank are in use"
    );
    write(&bank, 4, 0);
    let was = adapter(2);
    bank.clear(2);
    write(&bank, 4, 1);
    assert_eq!(adapter(4), was);
    assert_eq!(
        (numbers(&bank, 0, was)[1], numbers(&bank, 1, was)),
        (2.5, vec![0.0; 6])
    );
    // What it holds anew needs no adapter.
    write(&bank, 4, 0);
    write(&bank, 2, 2);
    assert_eq!((adapter(4), adapter(2)), (0, was));
    bank.empty();
    assert!((0..4).all(|row| numbers(&bank, 1, row) == [0.0; 6]));
}

#[test]
fn a_head_in_half_precision_has_its_own_numbers() {
    let bank = bank();
    let extent = Extent {
        own: 0,
        classes: 2,
        half_head: true,
    };
    bank.begin(1, extent).unwrap();
    bank.write_head(1, 0, &bytes_of(&[0.1, -0.2])).unwrap();
    let halves = [1.5, -2.0, 0.25, 65504.0].map(f16::from_f32);
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_ne_bytes()).collect();
    bank.write_head(1, 8, &bytes).unwrap();
    assert!(bank.write_head(1, 8, &[0; 9]).is_err());
    bank.commit(1).unwrap();
    let lease = bank.lease(&[1]).unwrap();
    let head = lease.head(1);
    assert_eq!(head.biases(), [0.1, -0.2]);
    let mut wide = Vec::new();
    assert_eq!(head.weights(0, &mut wide), [1.5, -2.0]);
    assert_eq!(head.weights(1, &mut wide), [0.25, 65504.0]);
}
