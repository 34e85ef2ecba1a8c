//! Memory for heads. A head has some kilobytes; a region of its own would take whole pages and one of the system's
//! mappings, of which a process may have some ten thousand. So heads are pieces of large regions.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::region::{Region, page_bytes};

/// Bytes of a region, unless a piece needs more. What is not written to takes no memory yet.
const REGION_BYTES: usize = 64 << 20;
/// Pieces begin at multiples of it, so that no two share a line of a cache.
const ALIGNMENT: usize = 64;

/// Hands out pieces, and takes them back when they are dropped.
#[derive(Default)]
pub struct Pool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    regions: Vec<Region>,
    /// Bytes that are free, by region and start. No two of them touch.
    free: BTreeMap<(usize, usize), usize>,
}

/// So many bytes, which nobody else has. They are initialised, with whatever was there before.
pub struct Piece {
    pool: Arc<Pool>,
    region: usize,
    start: usize,
    /// Where it is; it does not move.
    memory: *mut u8,
    bytes: usize,
}

// SAFETY: the memory belongs to the piece, wherever it goes.
unsafe impl Send for Piece {}
// SAFETY: it is written through `&mut self` alone.
unsafe impl Sync for Piece {}

impl Pool {
    /// Hands out a piece of so many bytes.
    pub fn take(self: &Arc<Self>, bytes: usize) -> io::Result<Piece> {
        let wanted = bytes.next_multiple_of(ALIGNMENT);
        let mut state = self.state();
        let fitting = |state: &State| {
            let mut free = state.free.iter();
            free.find(|(_, length)| **length >= wanted)
                .map(|(place, length)| (*place, *length))
        };
        let ((region, start), length) = match fitting(&state) {
            Some(found) => found,
            None => {
                let length = wanted.max(REGION_BYTES);
                state.regions.push(Region::reserve(length)?);
                ((state.regions.len() - 1, 0), length)
            }
        };
        state.free.remove(&(region, start));
        if length > wanted {
            let rest = (region, start + wanted);
            state.free.insert(rest, length - wanted);
        }
        // SAFETY: within the region.
        let memory = unsafe { state.regions[region].as_ptr().add(start) };
        Ok(Piece {
            pool: Arc::clone(self),
            region,
            start,
            memory,
            bytes,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn give_back(&self, region: usize, start: usize, bytes: usize) {
        let mut state = self.state();
        let (mut first, mut end) = (start, start + bytes.next_multiple_of(ALIGNMENT));
        if let Some(length) = state.free.remove(&(region, end)) {
            end += length;
        }
        let before = state.free.range(..(region, first)).next_back();
        if let Some((&(other, at), &length)) = before
            && other == region
            && at + length == first
        {
            first = at;
        }
        state.free.insert((region, first), end - first);
        // Pages that are free as a whole now; those further away were so before.
        let page = page_bytes();
        let from = first.max(start.saturating_sub(page));
        let to = end.min(start + bytes + page);
        // SAFETY: nobody has these bytes, and the lock keeps them from being handed out.
        unsafe { state.regions[region].discard(from, to - from) };
    }
}

impl Piece {
    /// Its bytes.
    pub fn get(&self) -> &[u8] {
        // SAFETY: the piece's own, initialised, and written through `&mut self` alone.
        unsafe { std::slice::from_raw_parts(self.memory, self.bytes) }
    }

    /// The same, to be written.
    pub fn get_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.memory, self.bytes) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.pool.give_back(self.region, self.start, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether no two pieces share a byte, and each has what was written to it.
    fn check(pieces: &[(Piece, u8)]) {
        for (piece, mark) in pieces {
            assert!(piece.get().iter().all(|byte| byte == mark));
        }
    }

    fn piece(pool: &Arc<Pool>, bytes: usize, mark: u8) -> (Piece, u8) {
        let mut piece = pool.take(bytes).unwrap();
        piece.get_mut().fill(mark);
        (piece, mark)
    }

    #[test]
    fn pieces_keep_their_bytes_while_others_come_and_go() {
        let pool = Arc::<Pool>::default();
        let mut pieces = Vec::new();
        let mut state = 7u64;
        for step in 0..2000u32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if pieces.len() > 40 || (state.is_multiple_of(3) && !pieces.is_empty()) {
                pieces.swap_remove((state >> 8) as usize % pieces.len());
            } else {
                pieces.push(piece(&pool, (state >> 16) as usize % 20_000, step as u8));
            }
            if step % 50 == 0 {
                check(&pieces);
            }
        }
        check(&pieces);
        pieces.clear();
        let state = pool.state();
        assert_eq!(state.free.len(), state.regions.len());
        assert!(
            state
                .free
                .iter()
                .all(|(place, length)| place.1 == 0 && *length == REGION_BYTES)
        );
    }

    #[test]
    fn a_piece_may_be_empty_or_larger_than_a_region() {
        let pool = Arc::<Pool>::default();
        let large = piece(&pool, REGION_BYTES + 1, 3);
        let empty = pool.take(0).unwrap();
        assert_eq!(
            (large.0.get().len(), empty.get().len()),
            (REGION_BYTES + 1, 0)
        );
        drop((large, empty));
        let again = piece(&pool, REGION_BYTES + 1, 4);
        assert_eq!(pool.state().regions.len(), 2);
        drop(again);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pages_that_are_free_as_a_whole_go_back_to_the_system() {
        let page = page_bytes();
        let pool = Arc::<Pool>::default();
        let [first, second, third] =
            [1, 2, 3].map(|mark| piece(&pool, 3 * page / 2 / 64 * 64, mark));
        let start = first.0.memory;
        let byte = |at: usize| unsafe { start.add(at).read() };
        drop(first);
        assert_eq!((byte(0), byte(page)), (0, 1), "the second page is shared");
        drop(second);
        assert_eq!((byte(page), byte(2 * page)), (0, 0));
        check(&[third]);
    }
}
