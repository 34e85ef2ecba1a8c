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
//!
//! On a device (`device/rows.rs`) the regions are that one's memory. A row is then written into the process's own first,
//! and goes to the device as a whole when it is committed. Nothing is made zero there: matrices are read by a number of
//! their own.

mod lease;
mod rows;
mod tensors;
mod values;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ort::value::DynValueRefMut;

pub use self::lease::Lease;
pub use self::rows::{AdapterRows, Content, Extent};
pub use self::tensors::{BankTensor, SingleInput, Span};

use self::lease::Held;
use self::rows::{Adapter, Row, Rows, State};
use crate::failure::Failure;
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
    /// The numbers of adapters have half precision.
    pub half: bool,
    /// None where the adapters are on a device.
    regions: Option<Vec<Region>>,
    span: Span,
    heads: Arc<Pool>,
    rows: Mutex<Rows>,
}

/// Tensors of a row on their way to the device.
pub struct Upload {
    /// What the row is to hold.
    pub content: Content,
    /// Where it goes.
    pub rows: AdapterRows,
    /// The bytes of each tensor.
    pub tensors: Vec<Vec<u8>>,
}

/// How large a bank is.
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Adapter rows. Where those of matrices have numbers of their own, all are on a device.
    pub adapters: Span,
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
        let count = adapters.affine;
        let reserved = || -> Result<Vec<_>, _> {
            let bytes = tensors
                .iter()
                .map(|tensor| count * tensor.elements() * width);
            bytes.map(Region::reserve).collect()
        };
        let here = adapters.matrices.is_none().then(reserved).transpose();
        let regions = here.map_err(|error| {
            format!(
                "no memory can be reserved for {count} adapters of the bank: {error}. Lower --bank-memory, or start with --runtime stock."
            )
        })?;
        Ok(Self {
            tensors,
            features,
            half,
            regions,
            span: adapters,
            heads: Arc::default(),
            rows: Mutex::new(Rows::new(rows, adapters)),
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
        rows.entries[row].adapter = rows.take(row, own)?;
        let staged = match &self.regions {
            Some(_) => Vec::new(),
            None => (0..own).map(|tensor| vec![0; self.bytes(tensor)]).collect(),
        };
        rows.entries[row].turn(State::Written(head, staged));
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
        let mut rows = self.rows();
        let Some(Row {
            state: State::Written(_, staged),
            adapter,
            ..
        }) = rows.entries.get_mut(row)
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
        let Some(regions) = &self.regions else {
            staged[tensor][start..start + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        };
        let at = adapter.rows.of(tensor);
        // SAFETY: within the adapter row's part of the region, as just checked. It is this row's alone, which is being
        // written: so it is not leased and nobody reads it, and the lock keeps other writers out.
        unsafe {
            let target = regions[tensor].as_ptr().add(at * length + start);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        Ok(())
    }

    /// Bytes of a tensor of one adapter row.
    pub fn bytes(&self, tensor: usize) -> usize {
        self.tensors[tensor].elements() * self.width()
    }

    /// For a device: of each tensor, how many rows there are and the bytes of one.
    pub fn blocks(&self) -> Vec<(usize, usize)> {
        let Span { affine, matrices } = self.span;
        let rows = |tensor| {
            if tensor == 0 {
                affine
            } else {
                matrices.unwrap_or(affine)
            }
        };
        let tensors = 0..self.tensors.len();
        tensors
            .map(|tensor| (rows(tensor), self.bytes(tensor)))
            .collect()
    }

    /// Writes bytes of the head of a row that is being written, from byte `start` on: biases in single precision, then
    /// weights.
    pub fn write_head(&self, row: usize, start: usize, bytes: &[u8]) -> Result<(), Failure> {
        match self.rows().entries.get_mut(row) {
            Some(Row {
                state: State::Written(head, _),
                ..
            }) => head
                .write(start, bytes)
                .map_err(|error| format!("bank row {row}, head: {error}")),
            _ => Err(format!("bank row {row} is not being written")),
        }
    }

    /// From now on the row that was being written can be leased; where it has tensors that are to be on a device, once they
    /// are: what is returned goes there, and then to `uploaded`.
    pub fn commit(&self, row: usize) -> Result<Option<Upload>, Failure> {
        let mut rows = self.rows();
        let not_written = || format!("bank row {row} is not being written");
        let entry = rows.entries.get_mut(row).ok_or_else(not_written)?;
        match std::mem::replace(&mut entry.state, State::Empty) {
            State::Written(head, staged) if staged.is_empty() => {
                entry.turn(State::Ready(Arc::new(head)));
                Ok(None)
            }
            State::Written(head, tensors) => {
                entry.turn(State::Uploading(head));
                let (change, rows) = (entry.change, entry.adapter.rows);
                let content = Content { row, change };
                Ok(Some(Upload {
                    content,
                    rows,
                    tensors,
                }))
            }
            other => {
                entry.state = other;
                Err(not_written())
            }
        }
    }

    /// What the row was given is on the device: from now on it can be leased. A no-op where the row was cleared or begun anew
    /// meanwhile.
    pub fn uploaded(&self, content: Content) {
        let mut rows = self.rows();
        let Some(entry) = rows.entries.get_mut(content.row) else {
            return;
        };
        if entry.change != content.change {
            return;
        }
        if let State::Uploading(head) = std::mem::replace(&mut entry.state, State::Empty) {
            entry.turn(State::Ready(Arc::new(head)));
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
        let Adapter { rows: adapter, own } = std::mem::take(&mut entry.adapter);
        for (tensor, region) in self.regions.iter().flatten().enumerate().take(own) {
            let bytes = self.bytes(tensor);
            // SAFETY: the adapter row was this row's alone, which is neither leased nor written, and the lock keeps writers
            // out. All its tensors are at one number here.
            unsafe { region.zero(adapter.affine * bytes, bytes) };
        }
        rows.give_back(adapter);
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
            let (head, adapter) = (Arc::clone(head), adapter.rows);
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
}

#[cfg(test)]
mod tests;
