//! The rows of the bank: one region of memory for each tensor of a row, `[R, ...]`, so that a graph's input is the
//! whole bank and no batch copies a row.
//!
//! A row is empty, being written, or ready. Only one that is ready can be leased, and one that is leased is neither
//! written nor given back. That is what makes the raw memory below sound: a byte has one writer and no reader while
//! its row is written, and readers only while it is leased.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard};

use half::f16;
use ort::memory::MemoryInfo;
use ort::value::{DynValueRefMut, Shape, TensorRefMut};

use crate::failure::{Failure, text};
use crate::head::Head;
use crate::region::Region;
use crate::session::Graph;

/// An input of the graph for batches of one domain: a piece of a row's tensor, in another shape.
pub struct SingleInput {
    /// Name of the graph's input.
    pub name: CString,
    /// Its shape.
    pub dims: Vec<i64>,
    /// Place in the row's tensor, in elements.
    pub offset: usize,
}

/// One tensor of a row.
pub struct BankTensor {
    /// Name of the input of the graph for any domains.
    pub name: CString,
    /// Shape of one row.
    pub dims: Vec<i64>,
    /// The same numbers as inputs of the graph for one domain.
    pub single: Vec<SingleInput>,
}

impl BankTensor {
    fn elements(&self) -> usize {
        elements(&self.dims)
    }
}

fn elements(dims: &[i64]) -> usize {
    dims.iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .product()
}

enum State {
    Empty,
    /// Not to be leased yet.
    Written(Head),
    Ready(Arc<Head>),
}

/// What a row holds, told from what it held before and will hold.
#[derive(Clone, Copy)]
pub struct Content {
    row: usize,
    change: u64,
}

struct Row {
    state: State,
    /// How often it has changed.
    change: u64,
    /// Made of what it holds: runs the batches of this row alone, instead of the trunk.
    dedicated: Option<Arc<Graph>>,
    /// Leases that are not given back.
    leases: usize,
    /// Its memory is to be given back when the last lease is.
    discard: bool,
}

impl Row {
    fn turn(&mut self, state: State) {
        self.state = state;
        self.change += 1;
        self.dedicated = None;
    }
}

/// A value over the bank's memory, to be read only. It must not outlive the bank.
pub type BankValue = DynValueRefMut<'static>;

/// The bank. All methods may be called from any thread.
pub struct Bank {
    /// The tensors of a row.
    pub tensors: Vec<BankTensor>,
    /// Length of the feature vector.
    pub features: usize,
    half: bool,
    regions: Vec<Region>,
    rows: Mutex<Vec<Row>>,
}

impl Bank {
    /// A bank of so many empty rows; `half` where its numbers have half precision.
    pub fn new(
        tensors: Vec<BankTensor>,
        rows: usize,
        half: bool,
        features: usize,
    ) -> Result<Self, Failure> {
        let width = if half { 2 } else { 4 };
        let regions: Result<Vec<_>, _> = tensors
            .iter()
            .map(|tensor| Region::reserve(rows * tensor.elements() * width))
            .collect();
        let regions = regions.map_err(|error| {
            format!(
                "no memory can be reserved for {rows} rows of the bank: {error}. Lower --bank-memory, or start with --runtime stock."
            )
        })?;
        let empty = || Row {
            state: State::Empty,
            change: 0,
            dedicated: None,
            leases: 0,
            discard: false,
        };
        let rows = Mutex::new(std::iter::repeat_with(empty).take(rows).collect());
        Ok(Self {
            tensors,
            features,
            half,
            regions,
            rows,
        })
    }

    fn width(&self) -> usize {
        if self.half { 2 } else { 4 }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// From now on the row can be written, and not be leased.
    pub fn begin(&self, row: usize, classes: usize) -> Result<(), Failure> {
        let head = Head::reserve(classes, self.features)?;
        let mut rows = self.rows();
        let entry = rows
            .get_mut(row)
            .ok_or_else(|| format!("the bank has no row {row}"))?;
        if entry.leases > 0 {
            return Err(format!("bank row {row} is in a run"));
        }
        entry.turn(State::Written(head));
        entry.discard = false;
        Ok(())
    }

    /// Writes bytes of a tensor of a row that is being written; `start` counts bytes.
    pub fn write(
        &self,
        row: usize,
        tensor: usize,
        start: usize,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let rows = self.rows();
        let Some(Row {
            state: State::Written(_),
            ..
        }) = rows.get(row)
        else {
            return Err(format!("bank row {row} is not being written"));
        };
        let length = self
            .tensors
            .get(tensor)
            .map_or(0, |tensor| tensor.elements() * self.width());
        if start
            .checked_add(bytes.len())
            .is_none_or(|end| end > length)
        {
            return Err(format!(
                "bank row {row}, tensor {tensor}: {} bytes at {start} of {length}",
                bytes.len()
            ));
        }
        // SAFETY: within the row's part of the region, as just checked. The row is being written, so it is not leased
        // and nobody reads it, and the lock keeps other writers out.
        unsafe {
            let target = self.regions[tensor].as_ptr().add(row * length + start);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        Ok(())
    }

    /// Writes numbers of the head of a row that is being written: weights, then biases, from element `start` on.
    pub fn write_head(&self, row: usize, start: usize, numbers: &[f32]) -> Result<(), Failure> {
        match self.rows().get_mut(row) {
            Some(Row {
                state: State::Written(head),
                ..
            }) => head
                .write(start, numbers)
                .map_err(|error| format!("bank row {row}, head: {error}")),
            _ => Err(format!("bank row {row} is not being written")),
        }
    }

    /// From now on the row that was being written can be leased.
    pub fn commit(&self, row: usize) -> Result<(), Failure> {
        let mut rows = self.rows();
        let entry = rows
            .get_mut(row)
            .ok_or_else(|| format!("the bank has no row {row}"))?;
        match std::mem::replace(&mut entry.state, State::Empty) {
            State::Written(head) => {
                entry.turn(State::Ready(Arc::new(head)));
                Ok(())
            }
            other => {
                entry.state = other;
                Err(format!("bank row {row} is not being written"))
            }
        }
    }

    /// From now on the row cannot be leased. Its memory is given back when its last lease is.
    pub fn clear(&self, row: usize) {
        let mut rows = self.rows();
        let Some(entry) = rows.get_mut(row) else {
            return;
        };
        entry.turn(State::Empty);
        entry.discard = true;
        self.tidy(row, entry);
    }

    fn tidy(&self, row: usize, entry: &mut Row) {
        if !entry.discard || entry.leases > 0 {
            return;
        }
        entry.discard = false;
        for (tensor, region) in self.tensors.iter().zip(&self.regions) {
            let bytes = tensor.elements() * self.width();
            // SAFETY: the row is neither leased nor written, and the lock keeps writers out.
            unsafe { region.discard(row * bytes, bytes) };
        }
    }

    /// Clears all rows, and keeps no memory of those that are in no run.
    pub fn empty(&self) {
        let mut rows = self.rows();
        for (row, entry) in rows.iter_mut().enumerate() {
            if !matches!(entry.state, State::Empty) {
                entry.turn(State::Empty);
                entry.discard = true;
                self.tidy(row, entry);
            }
        }
    }

    /// What a row holds; None where it is not ready.
    pub fn content(&self, row: usize) -> Option<Content> {
        let rows = self.rows();
        let entry = rows.get(row)?;
        let change = entry.change;
        matches!(entry.state, State::Ready(_)).then_some(Content { row, change })
    }

    /// From now on this network runs the row's batches. Returns the one that it had, or this one where the row holds
    /// something else by now.
    pub fn dedicate(
        &self,
        content: Content,
        network: Arc<Graph>,
    ) -> Result<Option<Arc<Graph>>, Arc<Graph>> {
        match self.rows().get_mut(content.row) {
            Some(entry) if entry.change == content.change => Ok(entry.dedicated.replace(network)),
            _ => Err(network),
        }
    }

    /// From now on the trunk runs the row's batches. Returns the network that did.
    pub fn undedicate(&self, row: usize) -> Option<Arc<Graph>> {
        self.rows().get_mut(row)?.dedicated.take()
    }

    /// Keeps the rows of a batch as they are until the lease is dropped.
    pub fn lease(self: &Arc<Self>, samples: &[i64]) -> Result<Lease, Failure> {
        let mut heads = BTreeMap::new();
        let mut rows = self.rows();
        for &sample in samples {
            if heads.contains_key(&sample) {
                continue;
            }
            let entry = usize::try_from(sample).ok().and_then(|row| rows.get(row));
            let Some(Row {
                state: State::Ready(head),
                ..
            }) = entry
            else {
                return Err(format!("bank row {sample} is empty"));
            };
            heads.insert(sample, Arc::clone(head));
        }
        let mut dedicated = None;
        for &row in heads.keys() {
            let entry = &mut rows[row as usize];
            entry.leases += 1;
            dedicated.clone_from(&entry.dedicated);
        }
        drop(rows);
        let alone = heads.len() == 1;
        Ok(Lease {
            bank: Arc::clone(self),
            heads,
            dedicated: dedicated.filter(|_| alone),
        })
    }

    /// A value over a tensor's memory, for the library to read.
    fn value(&self, tensor: usize, start: usize, dims: Vec<i64>) -> Result<BankValue, Failure> {
        let region = &self.regions[tensor];
        assert!(
            (start + elements(&dims)) * self.width() <= region.len(),
            "within the region"
        );
        // SAFETY: within the region, as just asserted.
        let memory = unsafe { region.as_ptr().add(start * self.width()) };
        let (info, shape) = (MemoryInfo::default(), Shape::from(dims));
        // SAFETY: the memory is the CPU's and aligned to its numbers. The caller keeps the bank as long as the value.
        // The library only reads it: it is given as an input.
        unsafe {
            if self.half {
                TensorRefMut::<f16>::from_raw(info, memory.cast(), shape)
                    .map(|value| value.into_dyn())
            } else {
                TensorRefMut::<f32>::from_raw(info, memory.cast(), shape)
                    .map(|value| value.into_dyn())
            }
        }
        .map_err(text)
    }

    /// A value for each tensor over all rows, `[R, ...dims]`. They must not outlive the bank.
    pub fn whole(&self) -> Result<Vec<BankValue>, Failure> {
        let rows = i64::try_from(self.rows().len()).map_err(text)?;
        let of = |(index, tensor): (usize, &BankTensor)| {
            self.value(index, 0, [&[rows], tensor.dims.as_slice()].concat())
        };
        self.tensors.iter().enumerate().map(of).collect()
    }

    /// A value for each input of the graph for one domain, in the order of the tensors, over one row. They must not
    /// outlive the bank.
    pub fn of_row(&self, row: usize) -> Result<Vec<BankValue>, Failure> {
        let mut values = Vec::new();
        for (index, tensor) in self.tensors.iter().enumerate() {
            for SingleInput { dims, offset, .. } in &tensor.single {
                values.push(self.value(index, row * tensor.elements() + offset, dims.clone())?);
            }
        }
        Ok(values)
    }
}

/// The rows of one batch, which stay what they are until this is dropped.
pub struct Lease {
    bank: Arc<Bank>,
    heads: BTreeMap<i64, Arc<Head>>,
    dedicated: Option<Arc<Graph>>,
}

impl Lease {
    /// The row, where the whole batch is of one.
    pub fn only(&self) -> Option<usize> {
        let mut rows = self.heads.keys();
        let first = usize::try_from(*rows.next()?).ok()?;
        rows.next().is_none().then_some(first)
    }

    /// The network of that row, where it had one.
    pub fn dedicated(&self) -> Option<&Graph> {
        self.dedicated.as_deref()
    }

    /// The head of a row of the batch.
    pub fn head(&self, row: i64) -> &Head {
        &self.heads[&row]
    }

    /// The rows of the batch and their heads.
    pub fn heads(&self) -> impl Iterator<Item = (i64, &Head)> {
        self.heads.iter().map(|(row, head)| (*row, head.as_ref()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut rows = self.bank.rows();
        for &row in self.heads.keys() {
            let row = row as usize;
            rows[row].leases -= 1;
            self.bank.tidy(row, &mut rows[row]);
        }
    }
}

#[cfg(test)]
mod tests;
