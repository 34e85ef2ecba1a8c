//! The operators of the domain `facet` as ONNX Runtime knows them. `src/compiler/own-operator.ts` writes their nodes.
//!
//! `ChannelsLast` makes `[N, H, W, C]` of `[N, C, H, W]`, and `ChannelsFirst` the reverse: Transposes, four times as fast as
//! the library's.
//!
//! `Slot`. Inputs: images `[N, H, W, input]`; weights `[output, input, kernel]`, constant; row `[N]`; affine `[R, A]`; matrix
//! `[R, output, input]` or none; residual `[N, H', W', output]` or none. Attributes: `strides`, `pads`, `scale` and `bias`
//! (where the slot's begin in the affine row), `relu`. Output: `[N, H', W', output]`.
//!
//! The crate's own trait for operators gives a kernel exclusive access to itself at each run, but several threads run one
//! session: so the C interface is implemented here, and a kernel is only read.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use half::f16;
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys::{
    self, ONNXTensorElementDataType as Kind, OrtCustomOpInputOutputCharacteristic as Presence,
};

use super::{Batch, Conv, Numbers, Plan, Slot, Target};
use crate::failure::{Failure, text};

const DOMAIN: &CStr = c"facet";
const SLOT: &CStr = c"Slot";
const CHANNELS_LAST: &CStr = c"ChannelsLast";
const CHANNELS_FIRST: &CStr = c"ChannelsFirst";

const IMAGES: usize = 0;
const WEIGHTS: usize = 1;
const ROW: usize = 2;
const AFFINE: usize = 3;
const MATRIX: usize = 4;
const RESIDUAL: usize = 5;
const INPUTS: usize = 6;

/// The library's description of the operator for slots, of its version 1.17, in which all that is set here is known.
static OPERATOR: sys::OrtCustomOp = OPERATOR_COMMON;

const OPERATOR_COMMON: sys::OrtCustomOp = sys::OrtCustomOp {
    version: 17,
    CreateKernel: None,
    GetName: Some(slot_name),
    GetExecutionProviderType: Some(provider),
    GetInputType: Some(input_type),
    GetInputTypeCount: Some(input_count),
    GetOutputType: Some(output_type),
    GetOutputTypeCount: Some(output_count),
    KernelCompute: None,
    KernelDestroy: Some(destroy),
    GetInputCharacteristic: Some(input_presence),
    GetOutputCharacteristic: Some(output_presence),
    GetInputMemoryType: Some(memory_type),
    GetVariadicInputMinArity: Some(none),
    GetVariadicInputHomogeneity: Some(none),
    GetVariadicOutputMinArity: Some(none),
    GetVariadicOutputHomogeneity: Some(none),
    CreateKernelV2: Some(create),
    KernelComputeV2: Some(compute),
    InferOutputShapeFn: None,
    GetStartVersion: Some(version),
    GetEndVersion: Some(version),
    GetMayInplace: None,
    ReleaseMayInplace: None,
    GetAliasMap: None,
    ReleaseAliasMap: None,
};

static TO_LAST: sys::OrtCustomOp = sys::OrtCustomOp {
    GetName: Some(last_name),
    KernelComputeV2: Some(compute_last),
    ..TURN
};

static TO_FIRST: sys::OrtCustomOp = sys::OrtCustomOp {
    GetName: Some(first_name),
    KernelComputeV2: Some(compute_first),
    ..TURN
};

const TURN: sys::OrtCustomOp = sys::OrtCustomOp {
    GetInputType: Some(output_type),
    GetInputTypeCount: Some(output_count),
    GetInputCharacteristic: Some(output_presence),
    CreateKernelV2: Some(create_nothing),
    KernelDestroy: Some(destroy_nothing),
    ..OPERATOR_COMMON
};

struct Domain(*mut sys::OrtCustomOpDomain);
// SAFETY: the library only reads it once the operator is in it.
unsafe impl Send for Domain {}
// SAFETY: as above.
unsafe impl Sync for Domain {}

/// Makes the operators known to a session. Its domain stays for the process's life, as sessions refer to it.
pub fn register(builder: &mut SessionBuilder) -> Result<(), Failure> {
    static MADE: OnceLock<Result<Domain, Failure>> = OnceLock::new();
    let domain = MADE.get_or_init(|| {
        let mut domain = ptr::null_mut();
        // SAFETY: the name and the description are static; each status is read once.
        unsafe {
            checked((ort::api().CreateCustomOpDomain)(
                DOMAIN.as_ptr(),
                &mut domain,
            ))?;
            for operator in [&raw const OPERATOR, &raw const TO_LAST, &raw const TO_FIRST] {
                checked((ort::api().CustomOpDomain_Add)(domain, operator))?;
            }
        }
        Ok(Domain(domain))
    });
    let domain = domain.as_ref().map_err(Clone::clone)?;
    // SAFETY: the domain is never released.
    unsafe { checked((ort::api().AddCustomOpDomain)(builder.ptr_mut(), domain.0)) }
}

/// # Safety
/// The status was returned just now.
unsafe fn checked(status: sys::OrtStatusPtr) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { ort::Error::result_from_status(status) }.map_err(text)
}

unsafe extern "system" fn slot_name(_: *const sys::OrtCustomOp) -> *const c_char {
    SLOT.as_ptr()
}

unsafe extern "system" fn last_name(_: *const sys::OrtCustomOp) -> *const c_char {
    CHANNELS_LAST.as_ptr()
}

unsafe extern "system" fn first_name(_: *const sys::OrtCustomOp) -> *const c_char {
    CHANNELS_FIRST.as_ptr()
}

unsafe extern "system" fn provider(_: *const sys::OrtCustomOp) -> *const c_char {
    ptr::null()
}

unsafe extern "system" fn input_count(_: *const sys::OrtCustomOp) -> usize {
    INPUTS
}

unsafe extern "system" fn output_count(_: *const sys::OrtCustomOp) -> usize {
    1
}

unsafe extern "system" fn input_type(_: *const sys::OrtCustomOp, index: usize) -> Kind {
    match index {
        ROW => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        // The bank's type, either precision.
        AFFINE | MATRIX => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
        _ => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    }
}

unsafe extern "system" fn output_type(_: *const sys::OrtCustomOp, _: usize) -> Kind {
    Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
}

unsafe extern "system" fn input_presence(_: *const sys::OrtCustomOp, index: usize) -> Presence {
    if index >= MATRIX {
        Presence::INPUT_OUTPUT_OPTIONAL
    } else {
        Presence::INPUT_OUTPUT_REQUIRED
    }
}

unsafe extern "system" fn output_presence(_: *const sys::OrtCustomOp, _: usize) -> Presence {
    Presence::INPUT_OUTPUT_REQUIRED
}

unsafe extern "system" fn memory_type(_: *const sys::OrtCustomOp, _: usize) -> sys::OrtMemType {
    sys::OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn none(_: *const sys::OrtCustomOp) -> c_int {
    0
}

unsafe extern "system" fn version(_: *const sys::OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn create(
    _: *const sys::OrtCustomOp,
    _: *const sys::OrtApi,
    info: *const sys::OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> sys::OrtStatusPtr {
    status(|| {
        // SAFETY: the library gives a node that lives until this returns, and takes what is made.
        unsafe {
            let slot = Box::new(slot_of(info)?);
            *kernel = Box::into_raw(slot).cast();
        }
        Ok(())
    })
}

unsafe extern "system" fn compute(
    kernel: *mut c_void,
    context: *mut sys::OrtKernelContext,
) -> sys::OrtStatusPtr {
    // SAFETY: the library gives what `create` made, to several threads at once: it is only read.
    status(|| unsafe { run(&*kernel.cast::<Slot>(), context) })
}

unsafe extern "system" fn destroy(kernel: *mut c_void) {
    // SAFETY: the library gives what `create` made, once, when nobody runs it.
    drop(unsafe { Box::from_raw(kernel.cast::<Slot>()) });
}

/// Turning images needs nothing but them. The library takes what is not null for made.
unsafe extern "system" fn create_nothing(
    _: *const sys::OrtCustomOp,
    _: *const sys::OrtApi,
    _: *const sys::OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> sys::OrtStatusPtr {
    // SAFETY: the library takes what is made.
    unsafe { *kernel = ptr::NonNull::dangling().as_ptr() };
    sys::OrtStatusPtr::default()
}

unsafe extern "system" fn destroy_nothing(_: *mut c_void) {}

unsafe extern "system" fn compute_last(
    _: *mut c_void,
    context: *mut sys::OrtKernelContext,
) -> sys::OrtStatusPtr {
    // SAFETY: the library gives the context of a run.
    status(|| unsafe { turn(context, |[samples, c, h, w]| ([samples, h, w, c], c)) })
}

unsafe extern "system" fn compute_first(
    _: *mut c_void,
    context: *mut sys::OrtKernelContext,
) -> sys::OrtStatusPtr {
    // SAFETY: the library gives the context of a run.
    status(|| unsafe { turn(context, |[samples, h, w, c]| ([samples, c, h, w], h * w)) })
}

/// @param of gives the shape of the output and the rows of a sample's input, from the input's shape
///
/// # Safety
/// The context is that of a run of such a node.
unsafe fn turn(
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
            super::turn::turn(from, rows, sample / rows, into);
        }
    }
    Ok(())
}

/// An input of a node; None where it is left out.
///
/// # Safety
/// The context is that of a run of a node, which outlives the tensor.
unsafe fn input(
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
unsafe fn output(
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

/// A panic must not pass through the library.
fn status(body: impl FnOnce() -> Result<(), Failure>) -> sys::OrtStatusPtr {
    let outcome = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err("the operator panicked".to_owned()));
    match outcome {
        Ok(()) => sys::OrtStatusPtr::default(),
        Err(message) => {
            let message = std::ffi::CString::new(message).unwrap_or_default();
            // SAFETY: the library copies the message.
            unsafe { (ort::api().CreateStatus)(sys::OrtErrorCode::ORT_FAIL, message.as_ptr()) }
        }
    }
}

/// # Safety
/// The node is alive.
unsafe fn slot_of(info: *const sys::OrtKernelInfo) -> Result<Slot, Failure> {
    // SAFETY: the caller's promise; each name is a C string.
    unsafe {
        let strides = integers(info, c"strides")?;
        let pads = integers(info, c"pads")?;
        let (mut constant, mut value) = (0, ptr::null());
        checked((ort::api().KernelInfoGetConstantInput_tensor)(
            info,
            WEIGHTS,
            &mut constant,
            &mut value,
        ))?;
        if constant == 0 || value.is_null() {
            return Err("the weights are no constant".to_owned());
        }
        let weights = Tensor::of(value)?;
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
        let plan = Plan {
            conv,
            scale: integer(info, c"scale")?,
            bias: integer(info, c"bias")?,
            relu: integer(info, c"relu")? != 0,
        };
        Slot::new(plan, weights.floats()?)
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

/// A tensor of the library's.
struct Tensor {
    dims: Vec<usize>,
    kind: Kind,
    data: *const c_void,
}

impl Tensor {
    /// # Safety
    /// The value is a tensor that outlives this.
    unsafe fn of(value: *const sys::OrtValue) -> Result<Self, Failure> {
        let api = ort::api();
        let mut info = ptr::null_mut();
        let mut kind = Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let (mut count, mut data) = (0, ptr::null_mut());
        // SAFETY: the caller's promise; the description is released after its last use.
        unsafe {
            checked((api.GetTensorTypeAndShape)(value, &mut info))?;
            let read = || {
                checked((api.GetTensorElementType)(info, &mut kind))?;
                checked((api.GetDimensionsCount)(info, &mut count))?;
                let mut dims = vec![0i64; count];
                checked((api.GetDimensions)(info, dims.as_mut_ptr(), count))?;
                dims.into_iter()
                    .map(|dim| usize::try_from(dim).map_err(text))
                    .collect::<Result<Vec<_>, _>>()
            };
            let dims = { read }();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            checked((api.GetTensorMutableData)(value.cast_mut(), &mut data))?;
            Ok(Self {
                dims: dims?,
                kind,
                data,
            })
        }
    }

    fn numbers<T>(&self, kind: Kind) -> Result<&[T], Failure> {
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

    fn floats(&self) -> Result<&[f32], Failure> {
        self.numbers(Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    }

    fn bank(&self) -> Result<Numbers<'_>, Failure> {
        if self.kind == Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 {
            return self.numbers::<f16>(self.kind).map(Numbers::Half);
        }
        self.floats().map(Numbers::Single)
    }
}

/// # Safety
/// The context is that of a run of this node.
unsafe fn run(slot: &Slot, context: *mut sys::OrtKernelContext) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let input = |index: usize| unsafe { input(context, index) };
    let needed = |index: usize| input(index)?.ok_or_else(|| format!("input {index} is missing"));
    let (images, row, affine) = (needed(IMAGES)?, needed(ROW)?, needed(AFFINE)?);
    let (matrix, residual) = (input(MATRIX)?, input(RESIDUAL)?);
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
    };
    let size = slot.check(&batch, samples, channels)?;
    // SAFETY: the caller's promise.
    let target = Target(unsafe { output(context, [samples, size[0], size[1], slot.conv.output]) }?);
    let units = slot.units(&batch, size);
    // SAFETY: `check` found the lengths right, and the output has the shape that was asked for.
    let work = |unit: usize| unsafe { slot.unit(&batch, size, target, unit) };
    if units == 1 {
        work(0);
        return Ok(());
    }
    let work = Work {
        body: &work,
        panicked: std::sync::atomic::AtomicBool::new(false),
    };
    // SAFETY: the call returns when all units are done, and `work` lives until then.
    unsafe {
        checked((ort::api().KernelContext_ParallelFor)(
            context,
            work_unit,
            units,
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
    panicked: std::sync::atomic::AtomicBool,
}

unsafe extern "C" fn work_unit(work: *mut c_void, unit: usize) {
    // SAFETY: what `run` gave.
    let work = unsafe { &*work.cast::<Work<'_>>() };
    if catch_unwind(AssertUnwindSafe(|| (work.body)(unit))).is_err() {
        work.panicked
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
