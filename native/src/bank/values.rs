//! The bank's memory in this process, as values that the library reads.

use half::f16;
use ort::memory::MemoryInfo;
use ort::value::{Shape, TensorRefMut};

use super::rows::AdapterRows;
use super::tensors::{SingleInput, elements};
use super::{Bank, BankTensor, BankValue};
use crate::failure::{Failure, text};

impl Bank {
    /// A value over a tensor's memory in this process, for the library to read.
    fn value(&self, tensor: usize, start: usize, dims: Vec<i64>) -> Result<BankValue, Failure> {
        let regions = self.regions.as_ref().ok_or("the rows are on a device")?;
        let region = &regions[tensor];
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
        let adapters = i64::try_from(self.span.affine).map_err(text)?;
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
            let row = only.of(index);
            for SingleInput { dims, offset, .. } in &tensor.single {
                values.push(self.value(index, row * tensor.elements() + offset, dims.clone())?);
            }
        }
        Ok(values)
    }
}
