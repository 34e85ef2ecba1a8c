//! Facet's native add-on: a runtime with one session of the trunk for all lanes, over a bank in memory that no batch
//! copies; and a decoder of ordinary JPEGs.
//!
//! It is optional (docs/decisions/0024-a-native-runtime.md, 0027-ordinary-jpegs-in-the-add-on.md).
//! `src/engine/native-lanes.ts` is the runtime's only user and holds the other half of its contract,
//! `src/image/jpeg-decoder.ts` the decoder's. Rows, batches and lanes are the words of docs/architecture.md.
//!
//! | file | what it is for |
//! |---|---|
//! | `session.rs` | a graph that several threads run; the one place where the crate's exclusive access is bypassed |
//! | `trunk.rs` | the graphs over the bank; inputs of a batch |
//! | `bank.rs`, `bank/`, `region.rs` | rows, and memory that can be given back |
//! | `device.rs`, `device/` | a GPU, or the CPU in its stead: rows in its memory, how much of that is taken, how it fails |
//! | `slot/` | the operator of the trunk's graph that a slot is |
//! | `dedicated.rs` | networks of single domains, opened in the background |
//! | `head.rs`, `pool.rs`, `heads.rs` | domains' classifiers in memory, and their products |
//! | `lanes.rs`, `queue.rs`, `batch.rs` | threads, what waits for them, cancellation |
//! | `help.rs` | work of a run that waiting lanes take part in |
//! | `picture.rs`, `jpeg.rs`, `colour.rs` | a JPEG to pixels, on libuv's threads |
//! | `resize.rs`, `enlarge.rs` | smaller as Pillow does it, larger as libvips does it |
//! | `memory.rs` | memory that nobody needs, given back to the system |
//! | `events.rs`, `exit.rs` | answers to JavaScript; the end of the process |
//! | `failure.rs` | why something failed |
//! | `faults.rs` | what tests inject, with the feature `faults` alone |

mod bank;
mod batch;
mod colour;
mod dedicated;
mod device;
mod enlarge;
mod events;
mod exit;
mod failure;
mod faults;
mod head;
mod heads;
mod help;
mod jpeg;
mod lanes;
pub mod memory;
pub mod picture;
mod pool;
mod queue;
mod region;
mod resize;
mod session;
mod slot;
mod trunk;

use std::ffi::CString;
use std::sync::Arc;

use napi::bindgen_prelude::{Float32ArraySlice, Function, Int32ArraySlice, Uint8ArraySlice};
use napi::{Env, Error, Result};
use napi_derive::napi;
use ort::session::RunOptions;

use crate::bank::{Bank, BankTensor, Extent, SingleInput, Size, Span};
use crate::batch::{Batch, Borrowed, BorrowedMut};
use crate::dedicated::Order;
use crate::device::Device;
use crate::events::{Event, Events};
use crate::faults::Faults;
use crate::lanes::{Lanes, Plan};
use crate::queue::Job;
use crate::trunk::{Files, Input, Place};

/// Raised when what JavaScript sees changes: an add-on of another build is then told from a fitting one.
#[napi]
pub const INTERFACE: u32 = 7;

/// It can have the bank's adapters on a device (`DeviceOptions`). Earlier builds of this interface say nothing.
#[napi]
pub const DEVICE_BANK: bool = true;

/// Whether this processor has what the operator for slots is made for: vectors. Without, graphs of ONNX's operators
/// alone are faster.
#[napi]
pub fn has_slot_operator() -> bool {
    slot::fast()
}

/// Whether it also has what makes that operator fast in 8 bits: VNNI.
#[napi]
pub fn has_slot_operator_in_bytes() -> bool {
    slot::fast_in_bytes()
}

/// Ends all lanes now, and returns when their threads have ended. For the end of the process: nothing is told any more.
#[napi]
pub fn end_all() {
    exit::end_all();
}

/// An input of the graph for batches of one domain: a piece of a row's tensor.
#[napi(object)]
pub struct SingleOptions {
    /// Name of the graph's input.
    pub name: String,
    /// Its shape.
    pub dims: Vec<i64>,
    /// Place in the row's tensor, in elements.
    pub offset: u32,
}

/// One tensor of a bank row.
#[napi(object)]
pub struct TensorOptions {
    /// Name of the input of the graph for any domains.
    pub name: String,
    /// Shape of one row.
    pub dims: Vec<i64>,
    /// The same numbers as inputs of the graph for one domain.
    pub single: Vec<SingleOptions>,
}

/// A device that has the bank's adapters in its own memory. All batches run on the graph for any domains then.
#[napi(object)]
pub struct DeviceOptions {
    /// The number of a GPU; without it the CPU stands for one.
    pub cuda: Option<i32>,
    /// Options of the CUDA provider, name and value of each.
    pub provider: Vec<Vec<String>>,
    /// Rows of matrices, the base's included. Their memory, and that of `adapters` affine rows, is taken at once.
    pub matrices: u32,
    /// Bytes that trunk, rows and runs may take; unbounded without.
    pub memory: Option<f64>,
}

/// What an engine is made of.
#[napi(object)]
pub struct EngineOptions {
    /// Path of ONNX Runtime's library. The first engine of a process decides.
    pub library: String,
    /// Path of the graph for batches of any domains.
    pub mixed_graph: String,
    /// The same for batches of one domain; without it the mixed graph runs those too.
    pub single_graph: Option<String>,
    /// Whether the numbers of adapters are half precision; otherwise they are float32.
    pub half: bool,
    /// Rows of the bank.
    pub rows: u32,
    /// How many of them, the base's included, may have an adapter of their own. Their memory is reserved, and taken when
    /// a row is written.
    pub adapters: u32,
    /// The tensors of a row.
    pub tensors: Vec<TensorOptions>,
    /// Height of an image.
    pub height: u32,
    /// Width of an image.
    pub width: u32,
    /// Length of the feature vector.
    pub features: u32,
    /// Runs side by side.
    pub lanes: u32,
    /// Threads of one run.
    pub threads: u32,
    /// Where the bank's adapters are, if not in the process's own memory.
    pub device: Option<DeviceOptions>,
}

/// The lanes of one start, and their bank.
#[napi]
pub struct NativeEngine {
    bank: Arc<Bank>,
    lanes: Arc<Lanes>,
    pixels: usize,
}

#[napi]
impl NativeEngine {
    /// Begins to open the graphs. `on_event` is called with what happens, first with `opened` or `unopened`; the
    /// process does not end by itself before `ended`.
    #[napi(constructor)]
    pub fn new(
        env: &Env,
        options: EngineOptions,
        on_event: Function<'_, Event, ()>,
        control: Option<Int32ArraySlice<'_>>,
    ) -> Result<Self> {
        let tensors: Result<Vec<_>> = options.tensors.into_iter().map(tensor).collect();
        let size = Size {
            rows: options.rows as usize,
            adapters: Span {
                affine: options.adapters as usize,
                matrices: options.device.as_ref().map(|on| on.matrices as usize),
            },
            features: options.features as usize,
        };
        let bank = Bank::new(tensors?, size, options.half).map_err(Error::from_reason)?;
        let bank = Arc::new(bank);
        let (height, width) = (options.height as usize, options.width as usize);
        let plan = Plan {
            files: Files {
                library: options.library,
                mixed: options.mixed_graph,
                single: options.single_graph,
            },
            input: Input { height, width },
            lanes: options.lanes as usize,
            threads: options.threads as usize,
            place: options.device.map(place).transpose()?,
            faults: faults(control),
        };
        let lanes = Lanes::start(plan, Arc::clone(&bank), Events::to(&on_event)?);
        exit::end_before(env, &lanes)?;
        Ok(Self {
            bank,
            lanes,
            pixels: height * width * 3,
        })
    }

    /// From now on a row can be written, and not be run. It must be in no run. It has itself so many of the first tensors
    /// (none, the first or all; the others are the base's), and a head of so many classes, whose weights have half
    /// precision or single.
    #[napi]
    pub fn begin_row(&self, row: u32, own: u32, classes: u32, half_head: bool) -> Result<()> {
        self.lanes.dedicated.withdraw(row as usize);
        let extent = Extent {
            own: own as usize,
            classes: classes as usize,
            half_head,
        };
        self.bank
            .begin(row as usize, extent)
            .map_err(Error::from_reason)
    }

    /// Copies bytes to byte `start` of a tensor of a row that was begun.
    #[napi]
    pub fn write_row(
        &self,
        row: u32,
        tensor: u32,
        start: u32,
        bytes: Uint8ArraySlice<'_>,
    ) -> Result<()> {
        self.bank
            .write(row as usize, tensor as usize, start as usize, &bytes)
            .map_err(Error::from_reason)
    }

    /// Copies bytes to byte `start` of the head of a row that was begun: biases in single precision, then weights.
    #[napi]
    pub fn write_head(&self, row: u32, start: u32, bytes: Uint8ArraySlice<'_>) -> Result<()> {
        self.bank
            .write_head(row as usize, start as usize, &bytes)
            .map_err(Error::from_reason)
    }

    /// From now on a row that was begun can be run: false. True where it goes to the device first; `written` or `failed`
    /// answers it then, under the number `id`, or `ended` where the lanes are ending.
    #[napi]
    pub fn commit_row(&self, row: u32, id: u32) -> Result<bool> {
        let commit = self.bank.commit(row as usize);
        let Some(upload) = commit.map_err(Error::from_reason)? else {
            return Ok(false);
        };
        // Where no thread takes it a lane was lost or all are ending: that is told, and the row goes with them.
        self.lanes.uploads.push(id, upload);
        Ok(true)
    }

    /// From now on a row cannot be run. Its memory is given back when no run uses it.
    #[napi]
    pub fn clear_row(&self, row: u32) {
        self.lanes.dedicated.withdraw(row as usize);
        self.bank.clear(row as usize);
    }

    /// Queues a run, for the first lane that is free or for a certain one. `done` or `failed` answers it.
    ///
    /// Until then the caller keeps `pixels` (`[N, H, W, 3]`), `features` (`[N, F]`) and `logits` (of each sample, one
    /// after the other), neither detached nor used: they are read and written where they are.
    ///
    /// `size` is how many images the run is to have, if more than the batch has.
    ///
    /// False where the lanes are ending: nothing answers it then. Throws where a row is empty or an array has a wrong
    /// length.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn run(
        &self,
        id: u32,
        rows: Int32ArraySlice<'_>,
        pixels: Uint8ArraySlice<'_>,
        mut features: Float32ArraySlice<'_>,
        mut logits: Float32ArraySlice<'_>,
        single: bool,
        lane: Option<u32>,
        size: Option<u32>,
    ) -> Result<bool> {
        let samples: Vec<i64> = rows.iter().copied().map(i64::from).collect();
        let lease = self.bank.lease(&samples).map_err(Error::from_reason)?;
        let classes: usize = samples.iter().map(|row| lease.head(*row).classes).sum();
        let expected = [
            samples.len() * self.pixels,
            samples.len() * self.bank.features,
            classes,
        ];
        let found = [pixels.len(), features.len(), logits.len()];
        if samples.is_empty() || found != expected {
            let words =
                format!("pixels, features, logits have lengths {found:?}, not {expected:?}");
            return Err(Error::from_reason(words));
        }
        // SAFETY: the contract of this function, which src/engine/native-lanes.ts keeps.
        let (pixels, features, logits) = unsafe {
            (
                Borrowed::new(&pixels),
                BorrowedMut::new(features.as_mut()),
                BorrowedMut::new(logits.as_mut()),
            )
        };
        let batch = Batch {
            pixels,
            size: samples.len().max(size.unwrap_or(0) as usize),
            samples,
            lease,
            features,
            logits,
            single,
        };
        let options = run_options().map_err(|error| Error::from_reason(failure::text(error)))?;
        let job = Job {
            id,
            batch,
            options: Arc::new(options),
        };
        let lane = lane.map(|lane| lane as usize);
        Ok(self.lanes.queue.push(job, lane))
    }

    /// Begins to open the dedicated network of what a row holds now: the bytes of a graph from `pixels` to `features`.
    /// It is tried on the image `pixels` (`[H, W, 3]`), and what it makes of it written to `features` (`[F]`).
    /// `dedicated` or `undedicated` answers it; until then the caller keeps the three arrays as those of a run.
    ///
    /// False where the lanes are ending: nothing answers it then. Throws where the row is empty or an array has a wrong
    /// length.
    #[napi]
    pub fn open_dedicated(
        &self,
        id: u32,
        row: u32,
        network: Uint8ArraySlice<'_>,
        pixels: Uint8ArraySlice<'_>,
        mut features: Float32ArraySlice<'_>,
    ) -> Result<bool> {
        let content = self.bank.content(row as usize);
        let content =
            content.ok_or_else(|| Error::from_reason(format!("bank row {row} is empty")))?;
        let expected = [self.pixels, self.bank.features];
        let found = [pixels.len(), features.len()];
        if found != expected {
            let words = format!("pixels, features have lengths {found:?}, not {expected:?}");
            return Err(Error::from_reason(words));
        }
        // SAFETY: the contract of this function, which src/engine/native-lanes.ts keeps.
        let (network, pixels, features) = unsafe {
            (
                Borrowed::new(&network),
                Borrowed::new(&pixels),
                BorrowedMut::new(features.as_mut()),
            )
        };
        let order = Order {
            id,
            content,
            network,
            pixels,
            features,
        };
        let opening = self.lanes.open_dedicated(order);
        opening.map_err(|error| Error::from_reason(error.to_string()))
    }

    /// From now on an opened network runs the batches of its row alone, until the row is cleared or written anew, or
    /// `drop_dedicated`. False where the row holds something else by now; the network is let go then.
    #[napi]
    pub fn use_dedicated(&self, id: u32) -> bool {
        self.lanes.dedicated.adopt(id)
    }

    /// Lets an opened network go that `use_dedicated` was not called for.
    #[napi]
    pub fn discard_dedicated(&self, id: u32) {
        self.lanes.dedicated.discard(id);
    }

    /// From now on the trunk runs the row's batches again. A no-op for a row without such a network.
    #[napi]
    pub fn drop_dedicated(&self, row: u32) {
        self.lanes.dedicated.withdraw(row as usize);
    }

    /// Gives a run up. `failed` answers it, or `done` where it was about to end. A no-op for an unknown one.
    #[napi]
    pub fn cancel(&self, id: u32) {
        if let Some(job) = self.lanes.queue.cancel(id) {
            drop(job);
            self.lanes.given_up(id);
        }
    }

    /// Gives the memory of all rows back. For when the lanes have ended: the object itself waits for the collector.
    #[napi]
    pub fn release(&self) {
        self.bank.empty();
    }

    /// Takes no further runs. The lanes end when they have answered those that are there.
    #[napi]
    pub fn finish(&self) {
        self.lanes.close();
    }
}

/// Nothing is logged: the library would write a failure to stderr as well as return it.
fn run_options() -> ort::Result<RunOptions> {
    let mut options = RunOptions::new()?;
    options.set_log_level(ort::logging::LogLevel::Fatal)?;
    Ok(options)
}

fn tensor(options: TensorOptions) -> Result<BankTensor> {
    let single = options
        .single
        .into_iter()
        .map(|SingleOptions { name, dims, offset }| {
            Ok(SingleInput {
                name: name_of(name)?,
                dims,
                offset: offset as usize,
            })
        });
    let single: Result<Vec<_>> = single.collect();
    Ok(BankTensor {
        name: name_of(options.name)?,
        dims: options.dims,
        single: single?,
    })
}

fn place(options: DeviceOptions) -> Result<Place> {
    let DeviceOptions {
        cuda,
        provider,
        memory,
        ..
    } = options;
    let pair = |pair: Vec<String>| {
        let [key, value] = <[String; 2]>::try_from(pair)
            .map_err(|_| Error::from_reason("a provider's option has a name and a value"))?;
        Ok((name_of(key)?, name_of(value)?))
    };
    let options: Result<Vec<_>> = provider.into_iter().map(pair).collect();
    let device = match cuda {
        Some(id) => Device::Cuda {
            id,
            options: options?,
        },
        None => Device::Cpu,
    };
    let limit = memory.map(|bytes| bytes as u64);
    Ok(Place { device, limit })
}

fn name_of(name: String) -> Result<CString> {
    CString::new(name).map_err(|error| Error::from_reason(error.to_string()))
}

#[cfg(feature = "faults")]
fn faults(control: Option<Int32ArraySlice<'_>>) -> Faults {
    // SAFETY: tests share an array that they keep.
    control
        .map(|mut control| unsafe { Faults::from(control.as_mut()) })
        .unwrap_or_default()
}

#[cfg(not(feature = "faults"))]
fn faults(_: Option<Int32ArraySlice<'_>>) -> Faults {
    Faults
}
