//! The operators of the domain `facet` as ONNX Runtime knows them. `src/compiler/own-operator.ts` writes their nodes.
//!
//! `ChannelsLast` makes `[N, H, W, C]` of `[N, C, H, W]`, and `ChannelsFirst` the reverse: Transposes, four times as fast as
//! the library's.
//!
//! `Slot`. Inputs: images `[N, H, W, input]`; weights `[output, input, kernel]`, constant; row `[N]`; affine `[R, A]`; matrix
//! `[R, output, input]` or none; residual `[N, H', W', output]` or none; steps `[output]` or none: with them the weights are bytes,
//! and so is what the slot multiplies them with; basis `[rank, input]`, constant, or none: with it the matrix is `up`,
//! `[R, output, rank]`, and stands for their product. Attributes: `strides`, `pads`, `scale` and `bias`
//! (where the slot's begin in the affine row), `relu`. Output: `[N, H', W', output]`.
//!
//! The crate's own trait for operators gives a kernel exclusive access to itself at each run, but several threads run one
//! session: so the C interface is implemented here, and a kernel is only read.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::OnceLock;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys::{
    self, ONNXTensorElementDataType as Kind, OrtCustomOpInputOutputCharacteristic as Presence,
};

use super::Slot;
use super::node::{AFFINE, INPUTS, MATRIX, ROW, WEIGHTS, run, slot_of, turn};
use super::value::checked;
use crate::failure::Failure;

const DOMAIN: &CStr = c"facet";
const SLOT: &CStr = c"Slot";
const CHANNELS_LAST: &CStr = c"ChannelsLast";
const CHANNELS_FIRST: &CStr = c"ChannelsFirst";

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
        // The bank's type, either precision; and weights of either sort.
        AFFINE | MATRIX | WEIGHTS => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
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

/// A panic must not pass through the library.
fn status(body: impl FnOnce() -> Result<(), Failure>) -> sys::OrtStatusPtr {
    let outcome = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err("the operator panicked".to_owned()));
    match outcome {
        Ok(()) => sys::OrtStatusPtr::default(),
        Err(message) => {
            let message = CString::new(message).unwrap_or_default();
            // SAFETY: the library copies the message.
            unsafe { (ort::api().CreateStatus)(sys::OrtErrorCode::ORT_FAIL, message.as_ptr()) }
        }
    }
}
