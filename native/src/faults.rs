//! Faults that a test puts into runs. Without the feature `faults` there are none, and nothing is looked at.

use crate::failure::Failure;
use crate::trunk::Files;

/// What is to go wrong in a run.
pub enum Fault {
    /// Nothing.
    None,
    /// The run fails.
    #[cfg_attr(not(feature = "faults"), allow(dead_code))]
    Fails(Failure),
    /// The run panics.
    #[cfg_attr(not(feature = "faults"), allow(dead_code))]
    Panics,
    /// The lane ends.
    #[cfg_attr(not(feature = "faults"), allow(dead_code))]
    Ends(String),
}

impl Fault {
    /// The fault's failure, or what `run` gives.
    pub fn or_else(self, run: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        match self {
            Self::Fails(message) => Err(message),
            Self::Panics => panic!("a fault of the run"),
            _ => run(),
        }
    }
}

#[cfg(not(feature = "faults"))]
mod injected {
    use super::{Fault, Files};

    /// None at all.
    #[derive(Default)]
    pub struct Faults;

    impl Faults {
        pub fn opening(&self, _: &Files) {}

        pub fn next(&self) -> Fault {
            Fault::None
        }

        pub fn next_upload(&self) -> Fault {
            Fault::None
        }
    }
}

#[cfg(feature = "faults")]
mod injected {
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::thread::sleep;
    use std::time::Duration;

    use super::{Fault, Files};

    /// Indices into the array that a test shares (test/faulty-worker-control.mjs).
    const RUNS: usize = 0;
    const NEXT_RUN: usize = 1;
    const IN_RUN: usize = 2;
    const RELEASE: usize = 3;
    const SESSIONS: usize = 4;
    const NEXT_UPLOAD: usize = 5;

    /// What ONNX Runtime says where a GPU's state in this process is gone,
    const LOST: &str = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=gpu ; expr=cudaStreamSynchronize(static_cast<cudaStream_t>(stream_))";
    /// and where it has no memory left.
    const FULL: &str = "bfc_arena.cc:359 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 1073741824";

    /// Counts runs and sessions, and takes faults from an array that a test shares.
    #[derive(Default)]
    pub struct Faults(Option<&'static [AtomicI32]>);

    impl Faults {
        /// # Safety
        /// The array lies in shared memory, which its owner keeps for the life of the process.
        pub unsafe fn from(control: &mut [i32]) -> Self {
            let start = control.as_mut_ptr().cast::<AtomicI32>();
            // SAFETY: the caller's promise; both types have one layout.
            Self(Some(unsafe {
                std::slice::from_raw_parts(start, control.len())
            }))
        }

        pub fn opening(&self, files: &Files) {
            if let Some(control) = self.0 {
                let graphs = 1 + i32::from(files.single.is_some());
                control[SESSIONS].fetch_add(graphs, Ordering::SeqCst);
            }
        }

        pub fn next(&self) -> Fault {
            let Some(control) = self.0 else {
                return Fault::None;
            };
            control[RUNS].fetch_add(1, Ordering::SeqCst);
            let fault = control[NEXT_RUN].swap(0, Ordering::SeqCst);
            if fault != 0 {
                control[IN_RUN].store(1, Ordering::SeqCst);
            }
            match fault {
                1 => Fault::Fails("non-zero status code at /srv/models/trunk.onnx".to_owned()),
                2 => Fault::Ends("exit code 9".to_owned()),
                3 => Fault::Ends("thrown outside of any request".to_owned()),
                4 => {
                    while control[RELEASE].load(Ordering::SeqCst) == 0 {
                        sleep(Duration::from_millis(1));
                    }
                    Fault::None
                }
                5 => Fault::Panics,
                6 => Fault::Fails(LOST.to_owned()),
                7 => Fault::Fails(FULL.to_owned()),
                _ => Fault::None,
            }
        }

        /// A fault of a row's way to the device.
        pub fn next_upload(&self) -> Fault {
            let fault = self
                .0
                .map_or(0, |control| control[NEXT_UPLOAD].swap(0, Ordering::SeqCst));
            match fault {
                1 => Fault::Fails("the row cannot be copied".to_owned()),
                6 => Fault::Fails(LOST.to_owned()),
                _ => Fault::None,
            }
        }
    }
}

pub use injected::Faults;
