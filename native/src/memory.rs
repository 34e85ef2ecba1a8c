//! Memory that the process holds and does not need goes back to the system: blocks that were freed and that the C
//! library keeps, and pages of files, which are read again where they are needed again.
//!
//! Linux alone; elsewhere nothing is done.

use std::path::Path;

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Result, Task};
use napi_derive::napi;

/// Gives back, on a thread of libuv's pool, what the start or a burst of work has left: freed blocks, and the pages of
/// libraries, of which a run reads a tenth of what a start does.
#[napi(ts_return_type = "Promise<void>")]
pub fn give_back_memory() -> AsyncTask<GiveBack> {
    AsyncTask::new(GiveBack)
}

/// The task of `give_back_memory`.
pub struct GiveBack;

impl Task for GiveBack {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        give_back_freed();
        give_back_code();
        Ok(())
    }

    fn resolve(&mut self, _: Env, (): ()) -> Result<()> {
        Ok(())
    }
}

/// Freed blocks that the C library keeps. Opening a graph leaves several times its size of them.
pub fn give_back_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: touches nothing but free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Pages of the program and its libraries that nobody could have written to.
fn give_back_code() {
    #[cfg(target_os = "linux")]
    {
        let segments = linux::Segments::of_libraries();
        linux::give_back(|part| !part.writable && segments.never_written(part));
    }
}

/// Pages of the files in a folder, which nobody writes to in memory: a family's weights, once they are packed.
pub fn give_back_files_in(folder: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(folder) = folder.canonicalize() {
        linux::give_back(|part| part.file.starts_with(&folder));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::fs::read_to_string;
    use std::ops::Range;
    use std::path::Path;

    use crate::region::page_bytes;

    /// A part of the process's memory that is a file's, its own copy.
    pub struct Part<'a> {
        pub start: usize,
        pub end: usize,
        pub writable: bool,
        pub file: &'a Path,
    }

    /// Gives back the pages of the parts that are chosen. Nobody may have written to one of them.
    pub fn give_back(chosen: impl Fn(&Part<'_>) -> bool) {
        let Ok(maps) = read_to_string("/proc/self/maps") else {
            return;
        };
        for part in maps.lines().filter_map(part).filter(chosen) {
            // SAFETY: pages of a file that were not written to are read from it again.
            unsafe {
                let start = part.start as *mut c_void;
                libc::madvise(start, part.end - part.start, libc::MADV_DONTNEED);
            }
        }
    }

    /// A line of `/proc/self/maps`: range, rights, offset, device, inode and the file's path. None for memory of no file.
    fn part(line: &str) -> Option<Part<'_>> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?;
        let file = fields.nth(3)?.trim_start();
        let address = |text| usize::from_str_radix(text, 16).ok();
        (file.starts_with('/') && rights.ends_with('p')).then_some(Part {
            start: address(start)?,
            end: address(end)?,
            writable: rights.contains('w'),
            file: Path::new(file),
        })
    }

    /// The segments of the program and its libraries, in whole pages.
    #[derive(Default)]
    pub struct Segments {
        read_only: Vec<Range<usize>>,
        writable: Vec<Range<usize>>,
    }

    impl Segments {
        pub fn of_libraries() -> Self {
            let mut found = Self::default();
            // SAFETY: the callback gets the pointer that is given here, and what it is told lives until it returns.
            unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut found).cast()) };
            found
        }

        /// Whether a part was never writable. Addresses that the loader fills in are writable at first, and read-only
        /// later.
        pub fn never_written(&self, part: &Part<'_>) -> bool {
            let within = |one: &Range<usize>| one.start <= part.start && part.end <= one.end;
            let overlaps = |one: &Range<usize>| one.start < part.end && part.start < one.end;
            self.read_only.iter().any(within) && !self.writable.iter().any(overlaps)
        }
    }

    /// `PF_W` of ELF: the segment may be written to.
    const WRITABLE: u32 = 2;

    unsafe extern "C" fn add(
        object: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: what `of_libraries` gave, and what the loader describes.
        let (found, object) = unsafe { (&mut *found.cast::<Segments>(), &*object) };
        if object.dlpi_phdr.is_null() {
            return 0;
        }
        let count = usize::from(object.dlpi_phnum);
        // SAFETY: the loader's own description of the object.
        let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, count) };
        let page = page_bytes();
        for header in headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
        {
            let start = (object.dlpi_addr + header.p_vaddr) as usize;
            let end = (start + header.p_memsz as usize).next_multiple_of(page);
            let writable = header.p_flags & WRITABLE != 0;
            let segments = if writable {
                &mut found.writable
            } else {
                &mut found.read_only
            };
            segments.push(start / page * page..end);
        }
        0
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use memmap2::MmapOptions;

    /// Bytes of a file's mapping that are in memory, by the kernel's account.
    fn resident(file: &str) -> usize {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = text.lines().skip_while(|line| !line.ends_with(file));
        let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    }

    #[test]
    fn pages_of_a_folders_files_are_given_back_and_read_again() {
        let folder = std::env::temp_dir().join(format!("facet-memory-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("weights");
        let bytes: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
        std::fs::File::create(&path)
            .unwrap()
            .write_all(&bytes)
            .unwrap();
        let file = std::fs::File::open(&path).unwrap();
        // SAFETY: nobody changes the file.
        let map = unsafe { MmapOptions::new().map_copy_read_only(&file) }.unwrap();
        assert_eq!(&map[..], &bytes[..]);
        assert_eq!(resident("weights"), bytes.len());
        super::give_back_files_in(&std::env::temp_dir().join("another"));
        assert_eq!(resident("weights"), bytes.len());
        super::give_back_files_in(&folder);
        assert_eq!(resident("weights"), 0);
        assert_eq!(&map[..], &bytes[..]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_program_goes_on_when_its_code_is_given_back() {
        static WRITTEN: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
        for time in 0..10 {
            WRITTEN.lock().unwrap().push(time);
            super::give_back_code();
            super::give_back_freed();
        }
        assert_eq!(*WRITTEN.lock().unwrap(), (0..10).collect::<Vec<_>>());
        assert_eq!("12.5".parse::<f64>().unwrap().to_string(), "12.5");
    }

    #[test]
    fn what_the_loader_wrote_to_is_no_code() {
        let segments = super::linux::Segments::of_libraries();
        let address = (&raw const TABLE) as usize;
        let part = |writable| super::linux::Part {
            start: address / 4096 * 4096,
            end: address / 4096 * 4096 + 4096,
            writable,
            file: "/program".as_ref(),
        };
        assert!(!segments.never_written(&part(false)));
        let code = what_the_loader_wrote_to_is_no_code as fn() as usize / 4096 * 4096;
        let part = super::linux::Part {
            start: code,
            end: code + 4096,
            ..part(false)
        };
        assert!(segments.never_written(&part));
    }

    /// Addresses, which the loader fills in.
    static TABLE: [fn(); 1] = [super::give_back_freed];
}
