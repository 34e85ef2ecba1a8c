//! What the operators do at a node of a graph: its attributes and weights when a session is made, its inputs and its
//! output in a run.

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::sys::{self, ONNXTensorElementDataType as Kind};

use super::value::{Tensor, checked, input, output};
use super::{Batch, Conv, Plan, Slot, Target, turn};
use crate::failure::{Failure, text};
use crate::help;

/// Waiting lanes help runs of so few images. A larger batch is a sign of load, under which lanes wait for moments only,
/// and what they would take from the other threads costs more than it gains.
const MOST_HELPED: usize = 2;

/// Inputs of a slot's node, by their place.
pub const IMAGES: usize = 0;
pub const WEIGHTS: usize = 1;
pub const ROW: usize = 2;
pub const AFFINE: usize = 3;
pub const MATRIX: usize = 4;
pub const RESIDUAL: usize = 5;
/// What one is in weights of 8 bits, `[output]`.
pub const STEPS: usize = 6;
/// What all domains' matrices share, `[rank, input]`.
pub const BASIS: usize = 7;
pub const INPUTS: usize = 8;

/// @param of gives the shape of the output and the rows of a sample's input, from the input's shape
///
/// # Safety
/// The context is that of a run of such a node.
pub unsafe fn turn(
    context: *mut sys::OrtKernelContext,
    of: impl Fn([usize; 4]) -> ([usize; 4], usize),
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let images = unsafe { input(context, 0) }?.ok_or("there are no images")?;
    let dims: [usize; 4] = images
        .dims
        .as_slice()
        .try_into()
        .map_err(|_| "images have not four dimensions")?;
    let (shape, rows) = of(dims);
    let sample = shape[1] * shape[2] * shape[3];
    // SAFETY: the caller's promise; the output is as large as the input.
    let into =
        unsafe { std::slice::from_raw_parts_mut(output(context, shape)?, shape[0] * sample) };
    if sample > 0 {
        for (from, into) in images
            .floats()?
            .chunks_exact(sample)
            .zip(into.chunks_exact_mut(sample))
        {
            turn::turn(from, rows, sample / rows, into);
        }
    }
    Ok(())
}

/// # Safety
/// The node is alive.
pub unsafe fn slot_of(info: *const sys::OrtKernelInfo) -> Result<Slot, Failure> {
    // SAFETY: the caller's promise; each name is a C string.
    unsafe {
        let strides = integers(info, c"strides")?;
        let pads = integers(info, c"pads")?;
        let weights = constant(info, WEIGHTS)?.ok_or("the weights are no constant")?;
        let dims: [usize; 4] = weights
            .dims
            .as_slice()
            .try_into()
            .map_err(|_| "the weights have not four dimensions")?;
        let conv = Conv {
            output: dims[0],
            input: dims[1],
            kernel: [dims[2], dims[3]],
            strides: strides
                .as_slice()
                .try_into()
                .map_err(|_| "strides are not two")?,
            pads: pads
                .as_slice()
                .try_into()
                .map_err(|_| "pads are not four")?,
        };
        let basis = constant(info, BASIS)?;
        let basis = match &basis {
            None => None,
            Some(basis) => match basis.dims.as_slice() {
                [_, input] if *input == conv.input => Some(basis.floats()?),
                dims => {
                    return Err(format!(
                        "a basis has the shape {dims:?}, which is not [rank, {}]",
                        conv.input
                    ));
                }
            },
        };
        let plan = Plan {
            conv,
            basis,
            scale: integer(info, c"scale")?,
            bias: integer(info, c"bias")?,
            relu: integer(info, c"relu")? != 0,
        };
        match constant(info, STEPS)? {
            None => Slot::new(plan, weights.floats()?),
            Some(steps) => {
                let kind = Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
                Slot::in_bytes(plan, weights.numbers(kind)?, steps.floats()?)
            }
        }
    }
}

/// An input of a node that does not change; None where it does, or is left out.
///
/// # Safety
/// The node is alive, and outlives the tensor.
unsafe fn constant(
    info: *const sys::OrtKernelInfo,
    index: usize,
) -> Result<Option<Tensor>, Failure> {
    let (mut count, mut constant, mut value) = (0, 0, ptr::null());
    // SAFETY: the caller's promise.
    unsafe {
        checked((ort::api().KernelInfo_GetInputCount)(info, &mut count))?;
        if index >= count {
            return Ok(None);
        }
        checked((ort::api().KernelInfoGetConstantInput_tensor)(
            info,
            index,
            &mut constant,
            &mut value,
        ))?;
        if constant == 0 || value.is_null() {
            return Ok(None);
        }
        Tensor::of(value).map(Some)
    }
}

unsafe fn integer(info: *const sys::OrtKernelInfo, name: &CStr) -> Result<usize, Failure> {
    let mut value = 0;
    // SAFETY: the caller gives a live node.
    unsafe {
        checked((ort::api().KernelInfoGetAttribute_int64)(
            info,
            name.as_ptr(),
            &mut value,
        ))?
    };
    usize::try_from(value).map_err(text)
}

unsafe fn integers(info: *const sys::OrtKernelInfo, name: &CStr) -> Result<Vec<usize>, Failure> {
    let get = ort::api().KernelInfoGetAttributeArray_int64;
    let mut length = 0;
    // SAFETY: the caller gives a live node; the first call asks for the length alone.
    unsafe {
        checked(get(info, name.as_ptr(), ptr::null_mut(), &mut length))?;
        let mut values = vec![0i64; length];
        checked(get(info, name.as_ptr(), values.as_mut_ptr(), &mut length))?;
        values
            .into_iter()
            .map(|value| usize::try_from(value).map_err(text))
            .collect()
    }
}

/// # Safety
/// The context is that of a run of this node.
pub unsafe fn run(slot: &Slot, context: *mut sys::OrtKernelContext) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let input = |index: usize| unsafe { input(context, index) };
    let needed = |index: usize| input(index)?.ok_or_else(|| format!("input {index} is missing"));
    let (images, row, affine) = (needed(IMAGES)?, needed(ROW)?, needed(AFFINE)?);
    let (matrix, residual) = (input(MATRIX)?, input(RESIDUAL)?);
    if slot.basis.is_none() && input(BASIS)?.is_some() {
        return Err("the basis is no constant".to_owned());
    }
    let (&[samples, height, width, channels], &[_, affine_length]) =
        (images.dims.as_slice(), affine.dims.as_slice())
    else {
        return Err("images or the affine rows have a wrong number of dimensions".to_owned());
    };
    let batch = Batch {
        size: [height, width],
        images: images.floats()?,
        rows: row.numbers(Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)?,
        affine: affine.bank()?,
        affine_length,
        matrix: matrix.as_ref().map(Tensor::bank).transpose()?,
        residual: residual.as_ref().map(Tensor::floats).transpose()?,
        steps: &[],
    };
    let size = slot.check(&batch, samples, channels)?;
    let steps = slot.steps(&batch);
    let batch = Batch {
        steps: &steps,
        ..batch
    };
    // SAFETY: the caller's promise.
    let target = Target(unsafe { output(context, [samples, size[0], size[1], slot.conv.output]) }?);
    let hands = if samples <= MOST_HELPED {
        help::hands()
    } else {
        1
    };
    let cut = slot.cut(&batch, size, hands);
    // SAFETY: `check` found the lengths right, and the output has the shape that was asked for.
    let work = |unit: usize| unsafe { slot.unit(&batch, size, target, cut, unit) };
    if cut.units == 1 {
        work(0);
        return Ok(());
    }
    if hands > 1 {
        return help::share(cut.units, &work);
    }
    let work = Work {
        body: &work,
        panicked: AtomicBool::new(false),
    };
    // SAFETY: the call returns when all units are done, and `work` lives until then.
    unsafe {
        checked((ort::api().KernelContext_ParallelFor)(
            context,
            work_unit,
            cut.units,
            0,
            (&raw const work).cast_mut().cast(),
        ))?
    };
    if work.panicked.into_inner() {
        Err("the operator panicked".to_owned())
    } else {
        Ok(())
    }
}

/// What the library's threads share.
struct Work<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    panicked: AtomicBool,
}

unsafe extern "C" fn work_unit(work: *mut c_void, unit: usize) {
    // SAFETY: what `run` gave.
    let work = unsafe { &*work.cast::<Work<'_>>() };
    if catch_unwind(AssertUnwindSafe(|| (work.body)(unit))).is_err() {
        work.panicked.store(true, Ordering::Relaxed);
    }
}
