//! The rows of the bank: a head each, and an *adapter row*, their own or the base's. There is one region of memory for
//! each tensor of an adapter row, `[A, ...]`, so that a graph's input is the whole bank and no batch copies a row.
//!
//! A row may have itself no tensor (its head is all that it has), the first one (its affine row), or all. Those that it
//! does not have are the base's, in adapter row 0. So a row without matrices takes none. Facet's own operator reads
//! matrices by the number of the affine row: where nothing was written they are zero, and so are the base's then.
//!
//! A row is empty, being written, or ready. Only one that is ready can be leased, and one that is leased is neither
//! written nor given back. That is what makes the raw memory below sound: a byte has one writer and no reader while
//! its row is written, and readers only while it is leased.

mod lease;
mod rows;
mod tensors;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use half::f16;
use ort::memory::MemoryInfo;
use ort::value::{DynValueRefMut, Shape, TensorRefMut};

pub use self::lease::Lease;
pub use self::rows::{AdapterRows, Content, Extent};
pub use self::tensors::{BankTensor, SingleInput};

use self::lease::Held;
use self::rows::{Adapter, Row, Rows, State};
use self::tensors::elements;
use crate::failure::{Failure, text};
use crate::head::Head;
use crate::pool::Pool;
use crate::region::Region;
use crate::session::Graph;

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
    /// Adapter rows that the regions have.
    adapters: usize,
    heads: Arc<Pool>,
    rows: Mutex<Rows>,
}

/// How large a bank is.
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Adapter rows, the base's among them.
    pub adapters: usize,
    /// Length of the feature vector.
    pub features: usize,
}

impl Bank {
    /// A bank of empty rows; `half` where the numbers of adapters have half precision.
    pub fn new(tensors: Vec<BankTensor>, size: Size, half: bool) -> Result<Self, Failure> {
        let Size {
            rows,
            adapters,
            features,
        } = size;
        let width = if half { 2 } else { 4 };
        let regions: Result<Vec<_>, _> = tensors
            .iter()
            .map(|tensor| Region::reserve(adapters * tensor.elements() * width))
            .collect();
        let regions = regions.map_err(|error| {
            format!(
                "no memory can be reserved for {adapters} adapters of the bank: {error}. Lower --bank-memory, or start with --runtime stock."
            )
        })?;
        Ok(Self {
            tensors,
            features,
            half,
            regions,
            adapters,
            heads: Arc::default(),
            rows: Mutex::new(Rows::new(rows)),
        })
    }

    fn width(&self) -> usize {
        if self.half { 2 } else { 4 }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// From now on the row can be written, and not be leased.
    pub fn begin(&self, row: usize, extent: Extent) -> Result<(), Failure> {
        let Extent {
            own,
            classes,
            half_head,
        } = extent;
        if own > 1 && own != self.tensors.len() {
            return Err(format!("bank row {row}: {own} tensors"));
        }
        let head = Head::reserve(&self.heads, classes, self.features, half_head)?;
        let mut rows = self.rows();
        rows.make(row)?;
        if rows.entries[row].leases > 0 {
            return Err(format!("bank row {row} is in a run"));
        }
        rows.entries[row].turn(State::Empty);
        self.tidy(row, &mut rows);
        if own > 0 {
            let adapter = rows.take(row, self.adapters)?;
            rows.entries[row].adapter = Adapter { row: adapter, own };
        }
        rows.entries[row].turn(State::Written(head));
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
            adapter,
            ..
        }) = rows.entries.get(row)
        else {
            return Err(format!("bank row {row} is not being written"));
        };
        let length = if tensor < adapter.own {
            self.bytes(tensor)
        } else {
            0
        };
        if start
            .checked_add(bytes.len())
            .is_none_or(|end| end > length)
        {
            return Err(format!(
                "bank row {row}, tensor {tensor}: {} bytes at {start} of {length}",
                bytes.len()
            ));
        }
        // SAFETY: within the adapter row's part of the region, as just checked. It is this row's alone, which is being
        // written: so it is not leased and nobody reads it, and the lock keeps other writers out.
        unsafe {
            let target = self.regions[tensor]
                .as_ptr()
                .add(adapter.row * length + start);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        Ok(())
    }

    /// Bytes of a tensor of one adapter row.
    fn bytes(&self, tensor: usize) -> usize {
        self.tensors[tensor].elements() * self.width()
    }

    /// Writes bytes of the head of a row that is being written, from byte `start` on: biases in single precision, then
    /// weights.
    pub fn write_head(&self, row: usize, start: usize, bytes: &[u8]) -> Result<(), Failure> {
        match self.rows().entries.get_mut(row) {
            Some(Row {
                state: State::Written(head),
                ..
            }) => head
                .write(start, bytes)
                .map_err(|error| format!("bank row {row}, head: {error}")),
            _ => Err(format!("bank row {row} is not being written")),
        }
    }

    /// From now on the row that was being written can be leased.
    pub fn commit(&self, row: usize) -> Result<(), Failure> {
        let mut rows = self.rows();
        let not_written = || format!("bank row {row} is not being written");
        let entry = rows.entries.get_mut(row).ok_or_else(not_written)?;
        match std::mem::replace(&mut entry.state, State::Empty) {
            State::Written(head) => {
                entry.turn(State::Ready(Arc::new(head)));
                Ok(())
            }
            other => {
                entry.state = other;
                Err(not_written())
            }
        }
    }

    /// From now on the row cannot be leased. Its memory is given back when its last lease is.
    pub fn clear(&self, row: usize) {
        let mut rows = self.rows();
        if let Some(entry) = rows.entries.get_mut(row) {
            entry.turn(State::Empty);
            self.tidy(row, &mut rows);
        }
    }

    /// Gives an empty row's adapter back, where no run uses it.
    fn tidy(&self, row: usize, rows: &mut Rows) {
        let entry = &mut rows.entries[row];
        if entry.leases > 0 || !matches!(entry.state, State::Empty) {
            return;
        }
        let Adapter { row: adapter, own } = std::mem::take(&mut entry.adapter);
        for (tensor, region) in self.regions.iter().enumerate().take(own) {
            let bytes = self.bytes(tensor);
            // SAFETY: the adapter row was this row's alone, which is neither leased nor written, and the lock keeps writers
            // out.
            unsafe { region.zero(adapter * bytes, bytes) };
        }
        if adapter > 0 {
            rows.free.push(adapter);
        }
    }

    /// Clears all rows, and keeps no memory of those that are in no run.
    pub fn empty(&self) {
        let mut rows = self.rows();
        for row in 0..rows.entries.len() {
            rows.entries[row].turn(State::Empty);
            self.tidy(row, &mut rows);
        }
    }

    /// What a row holds; None where it is not ready.
    pub fn content(&self, row: usize) -> Option<Content> {
        let rows = self.rows();
        let entry = rows.entries.get(row)?;
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
        match self.rows().entries.get_mut(content.row) {
            Some(entry) if entry.change == content.change => Ok(entry.dedicated.replace(network)),
            _ => Err(network),
        }
    }

    /// From now on the trunk runs the row's batches. Returns the network that did.
    pub fn undedicate(&self, row: usize) -> Option<Arc<Graph>> {
        self.rows().entries.get_mut(row)?.dedicated.take()
    }

    /// Keeps the rows of a batch as they are until the lease is dropped.
    pub fn lease(self: &Arc<Self>, samples: &[i64]) -> Result<Lease, Failure> {
        let mut held = BTreeMap::new();
        let mut rows = self.rows();
        for &sample in samples {
            if held.contains_key(&sample) {
                continue;
            }
            let index = usize::try_from(sample).ok();
            let entry = index.and_then(|row| rows.entries.get(row));
            let Some(Row {
                state: State::Ready(head),
                adapter,
                ..
            }) = entry
            else {
                return Err(format!("bank row {sample} is empty"));
            };
            let (head, adapter) = (Arc::clone(head), adapter.rows());
            held.insert(sample, Held { head, adapter });
        }
        let mut dedicated = None;
        for &row in held.keys() {
            let entry = &mut rows.entries[row as usize];
            entry.leases += 1;
            dedicated.clone_from(&entry.dedicated);
        }
        drop(rows);
        let alone = held.len() == 1;
        Ok(Lease {
            bank: Arc::clone(self),
            rows: held,
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

    /// A value for each tensor over all adapter rows, `[A, ...dims]`. They must not outlive the bank.
    pub fn whole(&self) -> Result<Vec<BankValue>, Failure> {
        let adapters = i64::try_from(self.adapters).map_err(text)?;
        let of = |(index, tensor): (usize, &BankTensor)| {
            self.value(index, 0, [&[adapters], tensor.dims.as_slice()].concat())
        };
        self.tensors.iter().enumerate().map(of).collect()
    }

    /// A value for each input of the graph for one domain, in the order of the tensors, over one adapter. They must not
    /// outlive the bank.
    pub fn of_adapter(&self, only: AdapterRows) -> Result<Vec<BankValue>, Failure> {
        let mut values = Vec::new();
        for (index, tensor) in self.tensors.iter().enumerate() {
            let row = if index == 0 {
                only.affine
            } else {
                only.matrices
            };
            for SingleInput { dims, offset, .. } in &tensor.single {
                values.push(self.value(index, row * tensor.elements() + offset, dims.clone())?);
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
