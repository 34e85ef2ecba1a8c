//! Values of ONNX Runtime, as a kernel is given them.

use std::ffi::c_void;
use std::ptr;

use half::f16;
use ort::sys::{self, ONNXTensorElementDataType as Kind};

use super::Numbers;
use crate::failure::{Failure, text};

/// # Safety
/// The status was returned just now.
pub unsafe fn checked(status: sys::OrtStatusPtr) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { ort::Error::result_from_status(status) }.map_err(text)
}

/// An input of a node; None where it is left out.
///
/// # Safety
/// The context is that of a run of a node, which outlives the tensor.
pub unsafe fn input(
    context: *mut sys::OrtKernelContext,
    index: usize,
) -> Result<Option<Tensor>, Failure> {
    let mut value = ptr::null();
    // SAFETY: the caller's promise; the value lives until the run of the node has ended.
    unsafe {
        checked((ort::api().KernelContext_GetInput)(
            context, index, &mut value,
        ))?;
        if value.is_null() {
            Ok(None)
        } else {
            Tensor::of(value).map(Some)
        }
    }
}

/// The numbers of a node's output, which gets this shape.
///
/// # Safety
/// The context is that of a run of a node.
pub unsafe fn output(
    context: *mut sys::OrtKernelContext,
    shape: [usize; 4],
) -> Result<*mut f32, Failure> {
    let dims = shape.map(|dim| dim as i64);
    let (mut value, mut data) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the caller's promise.
    unsafe {
        checked((ort::api().KernelContext_GetOutput)(
            context,
            0,
            dims.as_ptr(),
            dims.len(),
            &mut value,
        ))?;
        checked((ort::api().GetTensorMutableData)(value, &mut data))?;
    }
    Ok(data.cast())
}

/// A tensor of the library's.
pub struct Tensor {
    /// Its shape.
    pub dims: Vec<usize>,
    kind: Kind,
    data: *const c_void,
}

impl Tensor {
    /// # Safety
    /// The value is a tensor that outlives this.
    pub unsafe fn of(value: *const sys::OrtValue) -> Result<Self, Failure> {
        let api = ort::api();
        let (mut info, mut data) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the caller's promise; the description is released after its last use.
        unsafe {
            checked((api.GetTensorTypeAndShape)(value, &mut info))?;
            let described = describe(info);
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            let (kind, dims) = described?;
            checked((api.GetTensorMutableData)(value.cast_mut(), &mut data))?;
            Ok(Self { dims, kind, data })
        }
    }

    /// Its numbers, where they are of this type.
    pub fn numbers<T>(&self, kind: Kind) -> Result<&[T], Failure> {
        if self.kind != kind {
            return Err(format!(
                "a tensor has the type {:?}, not {kind:?}",
                self.kind
            ));
        }
        let length = self.dims.iter().product();
        if length == 0 {
            return Ok(&[]);
        }
        // SAFETY: the library's tensor has so many numbers of this type.
        Ok(unsafe { std::slice::from_raw_parts(self.data.cast(), length) })
    }

    /// The same in single precision.
    pub fn floats(&self) -> Result<&[f32], Failure> {
        self.numbers(Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    }

    /// The same in either precision.
    pub fn bank(&self) -> Result<Numbers<'_>, Failure> {
        if self.kind == Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 {
            return self.numbers::<f16>(self.kind).map(Numbers::Half);
        }
        self.floats().map(Numbers::Single)
    }
}

/// # Safety
/// The description is alive.
unsafe fn describe(
    info: *const sys::OrtTensorTypeAndShapeInfo,
) -> Result<(Kind, Vec<usize>), Failure> {
    let api = ort::api();
    let (mut kind, mut count) = (Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, 0);
    // SAFETY: the caller's promise; there is room for so many dimensions.
    unsafe {
        checked((api.GetTensorElementType)(info, &mut kind))?;
        checked((api.GetDimensionsCount)(info, &mut count))?;
        let mut dims = vec![0i64; count];
        checked((api.GetDimensions)(info, dims.as_mut_ptr(), count))?;
        let dims: Result<_, _> = dims.into_iter().map(usize::try_from).collect();
        Ok((kind, dims.map_err(text)?))
    }
}
