//! The trunk over the bank: both graphs, and their inputs for a batch.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;

use ort::session::RunOptions;
use ort::value::{TensorRef, TensorRefMut};

use crate::bank::{AdapterRows, Bank, BankValue, Lease};
use crate::batch::Batch;
use crate::failure::{Failure, text};
use crate::heads;
use crate::memory;
use crate::session::{Feeds, Graph, Source, environment};

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
    mixed: Graph,
    single: Option<Graph>,
    /// Inputs of the mixed graph: the bank as a whole. Before `bank`, whose memory they name.
    whole: Vec<BankValue>,
    bank: Arc<Bank>,
    input: Input,
    names: [CString; 3],
}

impl Trunk {
    /// Loads the library and the graphs. `threads` is how many run one run.
    pub fn open(
        files: &Files,
        bank: Arc<Bank>,
        input: Input,
        threads: usize,
    ) -> Result<Self, Failure> {
        let environment = environment(Path::new(&files.library))?;
        let open = |file: &String| Graph::open(environment, Source::File(file), threads, FEATURES);
        let mixed = open(&files.mixed)?;
        let single = files.single.as_ref().map(open).transpose()?;
        memory::give_back_freed();
        if let Some(folder) = Path::new(&files.mixed).parent() {
            memory::give_back_files_in(folder);
        }
        let names = [PIXELS, ROW, MATRIX_ROW].map(CString::from);
        Ok(Self {
            mixed,
            single,
            whole: bank.whole()?,
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
        } = batch;
        let (features, pixels) = (features.get(), pixels.get());
        let count = i64::try_from(samples.len()).map_err(text)?;
        let Input { height, width } = self.input;
        let [pixels_name, row_name, matrix_row_name] = &self.names;
        let pixels = TensorRef::from_array_view(([samples.len(), height, width, 3], pixels))
            .map_err(text)?;
        let length = i64::try_from(self.bank.features).map_err(text)?;
        let mut output =
            TensorRefMut::from_array_view_mut(([count, length], &mut *features)).map_err(text)?;
        let mut feeds = Feeds::default();
        feeds.add(pixels_name, &*pixels);
        let only = lease.only();
        match (lease.dedicated(), &self.single, only) {
            (Some(graph), _, _) if *single => graph.run(options, &feeds, &mut output)?,
            (_, Some(graph), Some(adapter)) if *single => {
                let values = self.bank.of_adapter(adapter)?;
                let inputs = self.bank.tensors.iter().flat_map(|tensor| &tensor.single);
                for (input, value) in inputs.zip(&values) {
                    feeds.add(&input.name, &**value);
                }
                graph.run(options, &feeds, &mut output)?;
            }
            _ => {
                let [rows, matrix_rows] = adapter_rows(lease, samples);
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
        drop(output);
        heads::logits(features, self.bank.features, samples, lease, logits.get());
        Ok(())
    }
}

/// The affine row of each sample, and its matrices'; one number where all have the same matrices.
fn adapter_rows(lease: &Lease, samples: &[i64]) -> [Vec<i64>; 2] {
    let of = |row: fn(AdapterRows) -> usize| -> Vec<i64> {
        let rows = samples.iter().map(|&sample| lease.adapter_rows(sample));
        rows.map(|rows| row(rows) as i64).collect()
    };
    let (affine, mut matrices) = (of(|rows| rows.affine), of(|rows| rows.matrices));
    // One matrix for all samples is broadcast; the graph then copies none.
    if matrices.iter().all(|row| *row == matrices[0]) {
        matrices.truncate(1);
    }
    [affine, matrices]
}
