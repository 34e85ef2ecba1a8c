//! One graph, opened once and run by all lanes.

use std::ffi::{CString, c_char};
use std::fmt::Debug;
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, OnceLock};

use ort::AsPointer;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, LoadCanceler, SessionBuilder};
use ort::session::{RunOptions, Session};
use ort::sys;
use ort::value::{PrimitiveTensorElementType, TensorRefMut};

use crate::device::Device;
use crate::failure::{Failure, text};
use crate::slot::operator;

/// The library's environment. The library allows one for a process, so it stays for the process's life.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads the library at `path`, the first time that it is called.
pub fn environment(path: &Path) -> Result<&'static Environment, Failure> {
    let _one = LOADING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let builder = ort::init_from(path)
        .map_err(|error| format!("{} cannot be loaded: {error}", path.display()))?;
    let made = builder.with_telemetry(false).build().map_err(text)?;
    share_arena(&made)?;
    Ok(ENVIRONMENT.get_or_init(|| made))
}

/// Growth of the arena: by what a run lacks (1) instead of twice its last growth (0). ResNet-50 in batches of eight then
/// takes 501 MB instead of 586 (docs/experiments/2026-11-27-one-trunk-for-all-lanes.md).
const GROW_AS_REQUESTED: usize = 1;

/// Registers one arena for the sessions that `Graph::open` makes. With an arena each, both graphs would keep the
/// memory of their largest batches in all lanes.
fn share_arena(environment: &Environment) -> Result<(), Failure> {
    use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
    let kind = (AllocatorType::Arena, MemoryType::Default);
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, kind.0, kind.1).map_err(text)?;
    let (keys, values) = ([c"arena_extend_strategy".as_ptr()], [GROW_AS_REQUESTED]);
    let api = ort::api();
    // SAFETY: keys and values have one length, and the environment and the description of the memory live until the
    // calls return. Each status is read once, and the configuration, which the library copies, is released.
    unsafe {
        let mut config = ptr::null_mut();
        let made = (api.CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), keys.len(), &mut config);
        ort::Error::result_from_status(made).map_err(text)?;
        let register = api.CreateAndRegisterAllocator;
        let registered = register(environment.ptr().cast_mut(), memory.ptr(), config);
        (api.ReleaseArenaCfg)(config);
        ort::Error::result_from_status(registered).map_err(text)
    }
}

/// Where a graph is.
pub enum Source<'a> {
    /// In a file, with what it refers to beside it.
    File(&'a str),
    /// Whole in memory. The function is given what ends the loading, before that begins, and may refuse.
    Memory(&'a [u8], &'a dyn Fn(LoadCanceler) -> Result<(), Failure>),
}

/// On what a graph runs.
#[derive(Clone, Copy)]
pub struct On<'a> {
    /// Threads of one run.
    pub threads: usize,
    /// The device, with an arena of the graph's own. None for the CPU and the arena that all graphs there share.
    pub device: Option<&'a Device>,
}

/// A loaded graph. `run` may be called from several threads at once.
pub struct Graph {
    session: Session,
    output: CString,
}

impl Graph {
    /// Loads a graph. `output` is the only output that is asked for.
    pub fn open(
        environment: &Environment,
        source: Source<'_>,
        on: On<'_>,
        output: &str,
    ) -> Result<Self, Failure> {
        let On { threads, device } = on;
        let options = |builder: SessionBuilder| -> Result<SessionBuilder, ort::Error> {
            Ok(builder
                .with_optimization_level(GraphOptimizationLevel::Level3)?
                .with_intra_threads(threads)?
                .with_inter_threads(1)?
                // Batch sizes vary, and a memory pattern would be planned anew for each.
                .with_memory_pattern(false)?
                // Threads that spin between runs cost CPU.
                .with_intra_op_spinning(false)?
                // Warnings are about how a graph was made.
                .with_log_level(LogLevel::Error)?)
        };
        let mut builder = Session::builder(environment)
            .and_then(options)
            .map_err(text)?;
        match device {
            Some(device) => device.register(&mut builder)?,
            None => {
                builder = builder.with_env_allocators().map_err(text)?;
                operator::register(&mut builder)?;
            }
        }
        let session = match source {
            Source::File(file) => builder.commit_from_file(file),
            Source::Memory(bytes, began) => {
                // Apart from the arena, which would keep the memory of those that go.
                builder = builder.with_device_allocated_initializers().map_err(text)?;
                began(builder.canceler())?;
                builder.commit_from_memory(bytes)
            }
        };
        let session = session.map_err(text)?;
        let output = CString::new(output).map_err(text)?;
        Ok(Self { session, output })
    }

    /// Names of the inputs.
    pub fn inputs(&self) -> Vec<String> {
        self.session
            .inputs()
            .iter()
            .map(|input| input.name().to_owned())
            .collect()
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> Vec<String> {
        self.session
            .outputs()
            .iter()
            .map(|output| output.name().to_owned())
            .collect()
    }

    /// What hands out memory of the device that the graph runs on.
    pub fn allocator(&self, device: &Device) -> Result<Allocator, Failure> {
        Allocator::new(&self.session, device.memory()?).map_err(text)
    }

    /// Runs the graph and writes its output into `into`, which has the output's shape. Inputs and output lie where their
    /// values say, on the device or in the process's memory: the library copies what lies elsewhere than it is needed.
    pub fn run<T: PrimitiveTensorElementType + Debug>(
        &self,
        options: &RunOptions,
        feeds: &Feeds<'_>,
        into: &mut TensorRefMut<'_, T>,
    ) -> Result<(), Failure> {
        let outputs: [*const c_char; 1] = [self.output.as_ptr()];
        let mut values: [*mut sys::OrtValue; 1] = [into.ptr().cast_mut()];
        // SAFETY: This is the one place where several threads are in a session at once. The crate's own `run` takes
        // `&mut Session`, because some execution providers keep state in a session. ONNX Runtime promises that `Run`
        // may be called from several threads on one session ("Multiple threads are allowed to run this function",
        // `InferenceSession::Run`). Its CPU and CUDA providers keep that promise, CUDA's with a stream for each run that is
        // under way (`IExecutionProvider::ConcurrentRunSupported`), and `open` registers no other. Nothing is aliased that
        // the call writes to: the session's state is the library's own, behind its own locks; `options` and `into` belong
        // to this run. All pointers live until the call returns: `feeds` borrows the names and values, which have the same
        // number, and the values borrow their memory.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.ptr(),
                feeds.names.as_ptr(),
                feeds.values.as_ptr(),
                feeds.values.len(),
                outputs.as_ptr(),
                outputs.len(),
                values.as_mut_ptr(),
            )
        };
        // SAFETY: the status is the one that `Run` returned, and is read once.
        unsafe { ort::Error::result_from_status(status) }.map_err(text)?;
        debug_assert!(
            ptr::eq(values[0], into.ptr()),
            "the output is written in place"
        );
        Ok(())
    }
}

/// The inputs of one run: names, and a value for each.
#[derive(Default)]
pub struct Feeds<'a> {
    names: Vec<*const c_char>,
    values: Vec<*const sys::OrtValue>,
    borrowed: std::marker::PhantomData<&'a ()>,
}

impl<'a> Feeds<'a> {
    /// Adds an input. It is only read.
    pub fn add(&mut self, name: &'a CString, value: &'a impl AsPointer<Sys = sys::OrtValue>) {
        self.names.push(name.as_ptr());
        self.values.push(value.ptr());
    }
}
