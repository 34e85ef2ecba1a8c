//! Where buffers begin.

use super::super::aligned::{Buffer, CACHE_LINE, room};

/// Numbers of the largest buffer: too many for the small blocks of an allocator.
const LARGEST: usize = 1 << 17;

/// Lengths of 1, 4, 13, ...: few of them whole lines.
fn lengths() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |length| Some(length * 3 + 1))
        .take_while(|&length| length < LARGEST)
}

fn assert_aligned<T>(buffer: &Buffer<T>) {
    assert_eq!(
        buffer.as_ptr().addr() % CACHE_LINE,
        0,
        "{} numbers",
        buffer.len()
    );
}

#[test]
fn buffers_begin_at_a_line() {
    let singles: Vec<_> = lengths()
        .map(|length| Buffer::new(length, 0.5f32))
        .collect();
    let bytes: Vec<_> = lengths().map(|length| Buffer::new(length, 7u8)).collect();
    for (at, length) in lengths().enumerate() {
        assert_aligned(&singles[at]);
        assert_aligned(&bytes[at]);
        assert_eq!(*singles[at], vec![0.5; length]);
        assert_eq!(*bytes[at], vec![7; length]);
    }
}

#[test]
fn buffers_that_grow_do_too_and_keep_their_numbers() {
    // Grows in turn with the buffer, so that one of them has to move.
    let mut expected = Vec::new();
    let mut buffer = Buffer::default();
    for length in lengths() {
        room(&mut buffer, length, 0.0f32);
        expected.resize(length, 0.0);
        assert_aligned(&buffer);
        assert_eq!(*buffer, expected);
        let last = length - 1;
        (buffer[last], expected[last]) = (length as f32, length as f32);
    }
}

#[test]
fn room_that_is_there_is_left_as_it_is() {
    let mut buffer = Buffer::new(40, 3.0f32);
    let before = buffer.as_ptr();
    room(&mut buffer, 8, 0.0);
    assert_eq!(buffer.as_ptr(), before);
    assert_eq!(*buffer, [3.0; 40]);
}
