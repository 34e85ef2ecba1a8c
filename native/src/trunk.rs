//! The trunk over the bank: both graphs, and their inputs for a batch; or one graph on a device, with the bank there.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;

use ort::session::RunOptions;
use ort::value::{TensorRef, TensorRefMut};

use crate::bank::{AdapterRows, Bank, BankValue, Lease, Upload};
use crate::batch::Batch;
use crate::device;
use crate::device::{Account, Device, DeviceRows};
use crate::failure::{Failure, text};
use crate::heads;
use crate::memory;
use crate::session::{Feeds, Graph, On, Source, environment};

/// Names of the graphs' own inputs and output (src/manifest/layout.ts): the images,
pub const PIXELS: &CStr = c"pixels";
const ROW: &CStr = c"row";
const MATRIX_ROW: &CStr = c"matrix_row";
/// The graphs' output.
pub const FEATURES: &str = "features";

/// What is opened.
pub struct Files {
    /// Path of ONNX Runtime's library.
    pub library: String,
    /// The graph for batches of any domains.
    pub mixed: String,
    /// The graph for batches of one domain.
    pub single: Option<String>,
}

/// The device that has the bank, and how much of it.
pub struct Place {
    /// The device.
    pub device: Device,
    /// Bytes that trunk, rows and runs may take there; unbounded without.
    pub limit: Option<u64>,
}

/// Sizes of the input.
#[derive(Clone, Copy)]
pub struct Input {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// The trunk, shared by all lanes.
pub struct Trunk {
    /// Inputs of the mixed graph: the bank as a whole. Before `device` and `bank`, whose memory they name.
    whole: Vec<BankValue>,
    /// The bank's adapters, where they are on a device.
    device: Option<DeviceRows>,
    mixed: Graph,
    single: Option<Graph>,
    bank: Arc<Bank>,
    input: Input,
    names: [CString; 3],
}

impl Trunk {
    /// Loads the library and the graphs. `threads` is how many run one run; `place` is where the bank's adapters are, if
    /// that is a device.
    pub fn open(
        files: &Files,
        bank: Arc<Bank>,
        input: Input,
        threads: usize,
        place: Option<&Place>,
    ) -> Result<Self, Failure> {
        let environment = environment(Path::new(&files.library))?;
        let device = place.map(|place| &place.device);
        let on = On { threads, device };
        let open = |file: &String| Graph::open(environment, Source::File(file), on, FEATURES);
        let mixed = open(&files.mixed)?;
        let single = files.single.as_ref().map(open).transpose()?;
        memory::give_back_freed();
        if let Some(folder) = Path::new(&files.mixed).parent() {
            memory::give_back_files_in(folder);
        }
        let names = [PIXELS, ROW, MATRIX_ROW].map(CString::from);
        let rows = |Place { device, limit }: &Place| {
            let account = Account::new(mixed.allocator(device)?, *limit);
            DeviceRows::take(environment, device, account, &bank.blocks())
        };
        let device = place.map(rows).transpose()?;
        let whole = match &device {
            Some(rows) => rows.values(&bank.tensors, bank.half)?,
            None => bank.whole()?,
        };
        Ok(Self {
            whole,
            device,
            mixed,
            single,
            bank,
            input,
            names,
        })
    }

    /// Names of the inputs and of the outputs of each graph.
    pub fn signatures(&self) -> Vec<[Vec<String>; 2]> {
        let graphs = std::iter::once(&self.mixed).chain(&self.single);
        graphs
            .map(|graph| [graph.inputs(), graph.outputs()])
            .collect()
    }

    /// Runs a batch: its features, then each domain's head on them.
    pub fn run(&self, batch: &mut Batch, options: &RunOptions) -> Result<(), Failure> {
        let Batch {
            pixels,
            samples,
            lease,
            features,
            logits,
            single,
            size,
        } = batch;
        let (features, pixels) = (features.get(), pixels.get());
        if *size > samples.len() {
            padded(
                pixels,
                features,
                samples.len(),
                *size,
                |pixels, features| {
                    self.features(pixels, (samples, *size), lease, *single, options, features)
                },
            )?;
        } else {
            self.features(pixels, (samples, *size), lease, *single, options, features)?;
        }
        heads::logits(features, self.bank.features, samples, lease, logits.get());
        Ok(())
    }

    /// Runs a graph: the features of `size` images, of which those behind the samples are anything.
    fn features(
        &self,
        pixels: &[u8],
        (samples, size): (&[i64], usize),
        lease: &Lease,
        single: bool,
        options: &RunOptions,
        features: &mut [f32],
    ) -> Result<(), Failure> {
        let count = i64::try_from(size).map_err(text)?;
        let Input { height, width } = self.input;
        let [pixels_name, row_name, matrix_row_name] = &self.names;
        let pixels =
            TensorRef::from_array_view(([size, height, width, 3], pixels)).map_err(text)?;
        let length = i64::try_from(self.bank.features).map_err(text)?;
        let mut output =
            TensorRefMut::from_array_view_mut(([count, length], &mut *features)).map_err(text)?;
        let mut feeds = Feeds::default();
        feeds.add(pixels_name, &*pixels);
        let only = lease.only();
        match (lease.dedicated(), &self.single, only) {
            (Some(graph), _, _) if single => graph.run(options, &feeds, &mut output)?,
            (_, Some(graph), Some(adapter)) if single => {
                let values = self.bank.of_adapter(adapter)?;
                let inputs = self.bank.tensors.iter().flat_map(|tensor| &tensor.single);
                for (input, value) in inputs.zip(&values) {
                    feeds.add(&input.name, &**value);
                }
                graph.run(options, &feeds, &mut output)?;
            }
            _ => {
                let [rows, matrix_rows] = adapter_rows(lease, samples, size);
                let rows = TensorRef::from_array_view(([rows.len()], &rows[..])).map_err(text)?;
                let matrix_rows =
                    TensorRef::from_array_view(([matrix_rows.len()], &matrix_rows[..]))
                        .map_err(text)?;
                feeds.add(row_name, &*rows);
                feeds.add(matrix_row_name, &*matrix_rows);
                for (tensor, value) in self.bank.tensors.iter().zip(&self.whole) {
                    feeds.add(&tensor.name, &**value);
                }
                self.mixed.run(options, &feeds, &mut output)?;
            }
        }
        self.device
            .as_ref()
            .map_or(Ok(()), |rows| rows.account.check(size))
    }

    /// Copies a row to the device, and lets it be leased then.
    pub fn upload(&self, upload: &Upload) -> Result<(), Failure> {
        let device = self.device.as_ref().ok_or("the bank is on no device")?;
        for (tensor, bytes) in upload.tensors.iter().enumerate() {
            device.write(tensor, upload.rows.of(tensor), bytes)?;
        }
        self.bank.uploaded(upload.content);
        Ok(())
    }

    /// Whether a failure of a run or of an upload is the device's: then no lane can go on.
    pub fn fatal(&self, failure: &str) -> Option<Failure> {
        self.device.as_ref().and_then(|_| device::fatal(failure))
    }
}

thread_local! {
    /// Images and features of a padded batch, kept for the next.
    static PADDED: RefCell<(Vec<u8>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Runs `count` images as if they were `size`, and keeps the features of the first ones.
fn padded(
    pixels: &[u8],
    features: &mut [f32],
    count: usize,
    size: usize,
    run: impl FnOnce(&[u8], &mut [f32]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    PADDED.with_borrow_mut(|(images, vectors)| {
        images.resize(pixels.len() / count * size, 0);
        images[..pixels.len()].copy_from_slice(pixels);
        vectors.resize(features.len() / count * size, 0.0);
        run(images, vectors)?;
        features.copy_from_slice(&vectors[..features.len()]);
        Ok(())
    })
}

/// The affine row of each sample, and its matrices'; one number where all have the same matrices. Images behind the
/// samples, up to `size`, get the rows of the first.
fn adapter_rows(lease: &Lease, samples: &[i64], size: usize) -> [Vec<i64>; 2] {
    let behind = std::iter::repeat_n(&samples[0], size - samples.len());
    let of = |row: fn(AdapterRows) -> usize| -> Vec<i64> {
        let all = samples.iter().chain(behind.clone());
        all.map(|&sample| row(lease.adapter_rows(sample)) as i64)
            .collect()
    };
    let (affine, mut matrices) = (of(|rows| rows.affine), of(|rows| rows.matrices));
    // One matrix for all samples is broadcast; the graph then copies none.
    if matrices.iter().all(|row| *row == matrices[0]) {
        matrices.truncate(1);
    }
    [affine, matrices]
}
