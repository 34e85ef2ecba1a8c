//! Memory of the process beside the allocator's: nothing of it is taken until it is written to, and parts of it can be
//! given back.

use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// A range of zeroed memory. It hands out raw pointers: who writes and who reads at a time is its owner's business.
pub struct Region {
    /// Empty ranges cannot be mapped.
    map: Option<MmapRaw>,
    bytes: usize,
}

impl Region {
    /// Reserves so many bytes. The system gives a page when it is first written to.
    pub fn reserve(bytes: usize) -> io::Result<Self> {
        if bytes == 0 {
            return Ok(Self { map: None, bytes });
        }
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
        // A huge page would take 2 MiB for each row of a small tensor.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        Ok(Self {
            map: Some(MmapRaw::from(map)),
            bytes,
        })
    }

    /// Bytes reserved.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Its first byte, aligned to a page.
    pub fn as_ptr(&self) -> *mut u8 {
        match &self.map {
            Some(map) => map.as_mut_ptr(),
            None => std::ptr::dangling_mut::<u64>().cast(),
        }
    }

    /// Makes a range zero, and gives its pages back where the system has them zero then.
    ///
    /// # Safety
    /// Nobody reads or writes the range meanwhile, and it lies within the region.
    pub unsafe fn zero(&self, start: usize, bytes: usize) {
        let page = page_bytes();
        let (first, end) = (start.next_multiple_of(page), (start + bytes) / page * page);
        // SAFETY: the caller's promise.
        let zero = |from: usize, to: usize| unsafe {
            std::ptr::write_bytes(self.as_ptr().add(from), 0, to - from);
        };
        if cfg!(target_os = "linux") && first < end {
            // SAFETY: the caller's promise.
            unsafe { self.discard(start, bytes) };
            zero(start, first);
            zero(end, start + bytes);
        } else {
            zero(start, start + bytes);
        }
    }

    /// Gives the pages back that lie wholly in a range, on Linux: they are zero when they are next read. What is in the
    /// rest of the range stays. Other systems do not promise this, and keep the memory as it is.
    ///
    /// # Safety
    /// Nobody reads or writes the range meanwhile.
    pub unsafe fn discard(&self, start: usize, bytes: usize) {
        let page = page_bytes();
        let first = start.next_multiple_of(page);
        let end = (start + bytes) / page * page;
        let Some(map) = &self.map else { return };
        if end <= first {
            return;
        }
        debug_assert!(end <= self.bytes.next_multiple_of(page));
        #[cfg(target_os = "linux")]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the caller's promise. Where the system refuses, the memory is only kept.
            let _ = unsafe { map.unchecked_advise_range(DontNeed, first, end - first) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = map;
    }
}

/// Bytes of a page.
pub fn page_bytes() -> usize {
    #[cfg(unix)]
    {
        // SAFETY: reads a constant of the system.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }
    #[cfg(not(unix))]
    {
        4096
    }
}

#[cfg(test)]
mod tests {
    use super::Region;

    #[test]
    fn gives_back_whole_pages_of_a_range_and_keeps_its_edges() {
        let page = super::page_bytes();
        let region = Region::reserve(4 * page).unwrap();
        let byte = |at: usize| unsafe { region.as_ptr().add(at) };
        for at in 0..region.len() {
            unsafe { byte(at).write(7) };
        }
        unsafe { region.discard(page / 2, 2 * page) };
        let read = |at: usize| unsafe { byte(at).read() };
        assert_eq!(
            [read(page - 1), read(2 * page), read(2 * page + page / 2)],
            [7, 7, 7]
        );
        let kept = if cfg!(target_os = "linux") { 0 } else { 7 };
        assert!((page..2 * page).all(|at| read(at) == kept));
        unsafe { region.discard(1, page - 2) };
        assert_eq!(read(1), 7);
    }

    #[test]
    fn a_range_is_zero_and_what_is_around_it_stays() {
        let page = super::page_bytes();
        for (start, bytes) in [
            (page / 2, 2 * page),
            (3, 5),
            (page, page),
            (0, 0),
            (7, 2 * page),
        ] {
            let region = Region::reserve(4 * page).unwrap();
            unsafe { region.as_ptr().write_bytes(7, region.len()) };
            unsafe { region.zero(start, bytes) };
            let all = unsafe { std::slice::from_raw_parts(region.as_ptr(), region.len()) };
            let range = start..start + bytes;
            for (at, byte) in all.iter().enumerate() {
                assert_eq!(
                    *byte,
                    if range.contains(&at) { 0 } else { 7 },
                    "{start} {at}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_a_region_too() {
        let region = Region::reserve(0).unwrap();
        assert_eq!(region.len(), 0);
        unsafe { region.discard(0, 0) };
    }
}
