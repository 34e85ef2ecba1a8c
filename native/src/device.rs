//! The device that the trunk runs on where the bank's adapters lie in its own memory
//! (docs/decisions/0041-a-bank-on-the-device.md): one of ONNX Runtime's execution providers, and how it fails.
//!
//! The CPU is a device too. All that is done for a GPU can be done there, with the CPU's allocator, and is tested there.

mod account;
mod rows;
mod uploads;

use std::ffi::CString;
use std::ptr;

use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;

pub use account::Account;
pub use rows::DeviceRows;
pub use uploads::Uploads;

use crate::failure::{Failure, text};

/// A device.
pub enum Device {
    /// The processor, for tests and rehearsals.
    Cpu,
    /// A GPU of NVIDIA.
    Cuda {
        /// Its number.
        id: i32,
        /// Options of the provider, by name, as ONNX Runtime's page on it has them.
        options: Vec<(CString, CString)>,
    },
}

impl Device {
    /// Has a session that is being made run on the device.
    pub fn register(&self, builder: &mut SessionBuilder) -> Result<(), Failure> {
        let Self::Cuda { options, .. } = self else {
            return Ok(());
        };
        let keys: Vec<_> = options.iter().map(|(key, _)| key.as_ptr()).collect();
        let values: Vec<_> = options.iter().map(|(_, value)| value.as_ptr()).collect();
        let api = ort::api();
        // SAFETY: keys and values have one length and live until the calls return. Each status is read once. The
        // options, which the session copies, are released, whatever the calls said.
        unsafe {
            let mut made = ptr::null_mut();
            ort::Error::result_from_status((api.CreateCUDAProviderOptions)(&mut made))
                .map_err(text)?;
            let update = api.UpdateCUDAProviderOptions;
            let updated = update(made, keys.as_ptr(), values.as_ptr(), keys.len());
            let outcome = ort::Error::result_from_status(updated).and_then(|()| {
                let append = api.SessionOptionsAppendExecutionProvider_CUDA_V2;
                ort::Error::result_from_status(append(builder.ptr_mut(), made))
            });
            (api.ReleaseCUDAProviderOptions)(made);
            outcome.map_err(text)
        }
    }

    /// Its own memory, as the library names it.
    pub fn memory(&self) -> Result<MemoryInfo<'static>, Failure> {
        let (name, id) = match self {
            Self::Cpu => (AllocationDevice::CPU, 0),
            Self::Cuda { id, .. } => (AllocationDevice::CUDA, *id),
        };
        MemoryInfo::new(name, id, AllocatorType::Device, MemoryType::Default).map_err(text)
    }
}

/// What a failure of a run says when the device has no memory left.
const OUT_OF_MEMORY: [&str; 5] = [
    "Failed to allocate memory",
    "out of memory",
    "Available memory of",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
];

/// What it says when the device or its state in this process is gone. Whatever CUDA or its libraries refuse is taken for
/// that: most of their errors come again with every later call.
const LOST: [&str; 11] = [
    "CUDA failure",
    "CUDA error",
    "CUDNN failure",
    "CUDNN error",
    // The frontend of cuDNN, which convolutions go through.
    "CUDNN_FE failure",
    "CUBLAS failure",
    "CUBLAS error",
    "CURAND failure",
    "CUFFT failure",
    "CUDNN_STATUS_",
    "CUBLAS_STATUS_",
];

/// Why no lane can go on after this failure; None where it is of one run alone.
pub fn fatal(failure: &str) -> Option<Failure> {
    let has = |words: &[&str]| words.iter().any(|word| failure.contains(word));
    if has(&OUT_OF_MEMORY) {
        Some(format!(
            "the device's memory is used up: {failure}. Give the service more (--gpu-memory), or lower --bank-memory or --max-batch"
        ))
    } else {
        has(&LOST).then(|| format!("the device failed: {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::fatal;

    #[test]
    fn what_a_device_says_is_told_from_a_failure_of_one_run() {
        for lost in [
            "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; expr=cudaStreamSynchronize(stream_)",
            "Non-zero status code returned while running Conv node. Name:'stem' Status Message: CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0 ; hostname=gpu ; file=conv.cc ; line=224 ; expr=s_.cudnn_fe_graph->execute(cudnn_handle, s_.variant_pack, ws.get());",
            "CUBLAS failure 13: the function failed to launch on the GPU ; GPU=0",
            "CURAND failure 201: CURAND_STATUS_LAUNCH_FAILURE ; GPU=0",
            "CUFFT failure 5: CUFFT_INTERNAL_ERROR ; GPU=0",
        ] {
            assert_eq!(fatal(lost), Some(format!("the device failed: {lost}")));
        }
        let full = "bfc_arena.cc:359 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 1073741824";
        assert!(fatal(full).is_some_and(|words| words.contains("--gpu-memory")));
        let both = "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size)";
        assert!(fatal(both).is_some_and(|words| words.contains("used up")));
        for of_one_run in [
            "Non-zero status code returned while running Reshape node",
            "Exiting due to terminate flag being set to true.",
        ] {
            assert_eq!(fatal(of_one_run), None);
        }
    }
}
