//! Who may read and write a row, and when.

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
    Arc::new(Bank::new(vec![tensor], 4, false, 2).unwrap())
}

fn write(bank: &Bank, row: usize) {
    bank.begin(row, 1).unwrap();
    bank.write(row, 0, 4, &2.5f32.to_le_bytes()).unwrap();
    bank.write_head(row, 0, &[1.0, 2.0, 3.0]).unwrap();
    bank.commit(row).unwrap();
}

fn refusal<T>(result: Result<T, Failure>) -> Failure {
    result.err().expect("refused")
}

#[test]
fn a_row_can_be_leased_when_it_is_whole_and_until_it_is_cleared() {
    let bank = bank();
    assert_eq!(refusal(bank.lease(&[1])), "bank row 1 is empty");
    bank.begin(1, 1).unwrap();
    assert_eq!(refusal(bank.lease(&[1])), "bank row 1 is empty");
    write(&bank, 1);
    let lease = bank.lease(&[1, 1]).unwrap();
    assert_eq!(
        (lease.only(), lease.head(1).values()),
        (Some(1), &[1.0, 2.0, 3.0][..])
    );
    bank.clear(1);
    assert_eq!(refusal(bank.lease(&[1])), "bank row 1 is empty");
    for row in [-1, 4, i64::MAX] {
        assert_eq!(
            refusal(bank.lease(&[row])),
            format!("bank row {row} is empty")
        );
    }
}

#[test]
fn a_row_in_a_run_is_neither_written_nor_given_back() {
    let bank = bank();
    write(&bank, 1);
    write(&bank, 2);
    let lease = bank.lease(&[2, 1]).unwrap();
    assert_eq!(lease.only(), None);
    assert_eq!(refusal(bank.begin(1, 0)), "bank row 1 is in a run");
    bank.clear(1);
    assert_eq!(refusal(bank.begin(1, 0)), "bank row 1 is in a run");
    assert_eq!(lease.head(1).values(), [1.0, 2.0, 3.0]);
    drop(lease);
    write(&bank, 1);
}

#[test]
fn a_write_beyond_a_row_is_refused() {
    let bank = bank();
    assert_eq!(
        refusal(bank.write(1, 0, 0, &[0])),
        "bank row 1 is not being written"
    );
    bank.begin(1, 1).unwrap();
    assert!(bank.write(1, 0, 0, &[0; 12]).is_ok());
    assert!(bank.write(1, 0, 1, &[0; 12]).is_err());
    assert!(bank.write(1, 0, usize::MAX, &[0; 2]).is_err());
    assert!(bank.write(1, 1, 0, &[0]).is_err());
    assert!(bank.write_head(1, 1, &[0.0; 3]).is_err());
    assert!(bank.begin(4, 0).is_err());
    assert!(bank.commit(0).is_err());
}
