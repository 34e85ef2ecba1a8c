//! Adapter rows in the device's own memory: one block for each tensor, `[rows, ...]`, taken as a whole when the trunk is
//! open. The graph gathers from the blocks by row; nothing of a row crosses to the device when a batch runs.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;

use half::f16;
use ort::environment::Environment;
use ort::memory::MemoryInfo;
use ort::session::RunOptions;
use ort::value::{Shape, TensorRef, TensorRefMut};

use super::Device;
use super::account::{Account, shown};
use crate::bank::{BankTensor, BankValue};
use crate::failure::{Failure, text};
use crate::session::{Feeds, Graph, On, Source};

/// A graph of one node, `y = Identity(x)`, both `uint8 [n]` (opset 17). A run of it with an output on the device copies
/// bytes there. The library has no other way that all its providers share.
const COPY: &[u8] = b"\x08\x08\x3a\x3c\x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity\x12\x04copy\
    \x5a\x10\x0a\x01x\x12\x0b\x0a\x09\x08\x02\x12\x05\x0a\x03\x12\x01n\
    \x62\x10\x0a\x01y\x12\x0b\x0a\x09\x08\x02\x12\x05\x0a\x03\x12\x01n\x42\x04\x0a\x00\x10\x11";

/// A tensor of all rows.
struct Block {
    start: NonNull<c_void>,
    /// Bytes of a row.
    bytes: usize,
    rows: usize,
}

/// The rows.
pub struct DeviceRows {
    blocks: Vec<Block>,
    copier: Graph,
    memory: MemoryInfo<'static>,
    /// What the rows and the trunk have taken.
    pub account: Account,
}

// SAFETY: the blocks are the rows' own, and pointers to a device's memory that no code here reads or writes through.
unsafe impl Send for DeviceRows {}
// SAFETY: as above. Who writes which row when is the bank's business (`bank.rs`).
unsafe impl Sync for DeviceRows {}

impl DeviceRows {
    /// Takes the memory of all rows from what hands it out to the trunk.
    ///
    /// `tensors`: of each tensor, how many rows there are and the bytes of one.
    pub fn take(
        environment: &Environment,
        device: &Device,
        account: Account,
        tensors: &[(usize, usize)],
    ) -> Result<Self, Failure> {
        let on = On {
            threads: 1,
            device: Some(device),
        };
        let source = Source::Memory(COPY, &|_| Ok(()));
        let mut rows = Self {
            blocks: Vec::new(),
            copier: Graph::open(environment, source, on, "y")?,
            memory: device.memory()?,
            account,
        };
        let all: usize = tensors.iter().map(|(count, bytes)| count * bytes).sum();
        rows.account.admit(all as u64)?;
        for &(count, bytes) in tensors {
            let allocator = rows.account.allocator();
            let block = allocator.alloc::<u8>(count * bytes).map_err(|error| {
                format!(
                    "the device has no memory for {} of adapters: {}",
                    shown(all as u64),
                    text(error)
                )
            })?;
            let start = NonNull::new(block.into_raw()).ok_or("no memory")?;
            drop(allocator);
            rows.blocks.push(Block {
                start,
                bytes,
                rows: count,
            });
        }
        Ok(rows)
    }

    /// A value for each tensor over all rows, `[rows, ...dims]`. They must not outlive these.
    pub fn values(&self, tensors: &[BankTensor], half: bool) -> Result<Vec<BankValue>, Failure> {
        let of = |(block, tensor): (&Block, &BankTensor)| {
            let rows = i64::try_from(block.rows).map_err(text)?;
            let shape = Shape::from([&[rows], tensor.dims.as_slice()].concat());
            let (memory, start) = (self.memory.clone(), block.start.as_ptr());
            // SAFETY: the block has so many rows of so many numbers, aligned to more than a number, and the caller keeps
            // these rows as long as the value. The library only reads it: it is given as an input.
            unsafe {
                if half {
                    TensorRefMut::<f16>::from_raw(memory, start, shape)
                        .map(|value| value.into_dyn())
                } else {
                    TensorRefMut::<f32>::from_raw(memory, start, shape)
                        .map(|value| value.into_dyn())
                }
            }
            .map_err(text)
        };
        self.blocks.iter().zip(tensors).map(of).collect()
    }

    /// Copies a row of a tensor to the device, and returns when it is there. No run reads that row, and nobody else writes
    /// it.
    pub fn write(&self, tensor: usize, row: usize, bytes: &[u8]) -> Result<(), Failure> {
        let block = self.blocks.get(tensor).ok_or("no such tensor")?;
        if row >= block.rows || bytes.len() != block.bytes {
            return Err(format!(
                "{} bytes for row {row} of {}, of {} bytes each",
                bytes.len(),
                block.rows,
                block.bytes
            ));
        }
        let length = i64::try_from(bytes.len()).map_err(text)?;
        let from = TensorRef::from_array_view(([length], bytes)).map_err(text)?;
        // SAFETY: the row lies within the block, as just checked, and is this call's to write.
        let mut to = unsafe {
            let start = block.start.as_ptr().byte_add(row * block.bytes);
            TensorRefMut::<u8>::from_raw(self.memory.clone(), start, Shape::from([length]))
        }
        .map_err(text)?;
        let name = CString::from(c"x");
        let mut feeds = Feeds::default();
        feeds.add(&name, &*from);
        let options = RunOptions::new().map_err(text)?;
        self.copier.run(&options, &feeds, &mut to)
    }
}

impl Drop for DeviceRows {
    fn drop(&mut self) {
        let allocator = self.account.allocator();
        for block in &self.blocks {
            // SAFETY: the allocator gave the block, and nothing uses it any more.
            unsafe { allocator.free(block.start.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::COPY;

    #[test]
    fn the_graph_that_copies_is_whole() {
        // Lengths of the graph, its node, and its input and output, as the format counts them.
        assert_eq!((COPY[3] as usize, COPY.len()), (0x3c, 4 + 0x3c + 6));
        assert_eq!(
            COPY[5] as usize,
            b"\x0a\x01x\x12\x01y\x22\x08Identity".len()
        );
    }
}
