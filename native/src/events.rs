//! What the lanes tell JavaScript.

use std::sync::{Mutex, PoisonError};

use napi::bindgen_prelude::{Function, Result};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

/// What happened. Which fields are there depends on `type`.
#[napi(object)]
pub struct Event {
    /// - `opened`: the graphs are loaded. `signatures` has the names of each graph's inputs and outputs.
    /// - `unopened`: they could not be; `message` says why. `ended` follows.
    /// - `done`: run `id` is answered; `ms` is what it took, `runs` how many runs its lane has made.
    /// - `written`: the row that was committed as `id` is on the device, and can be run.
    /// - `failed`: run `id` failed, or the row that was committed so; `message` says why.
    /// - `dedicated`: the dedicated network `id` is opened, and has made features of its image, in `ms`.
    /// - `undedicated`: it could not be; `message` says why.
    /// - `lost`: a lane ended out of order, in run `id` if that is there.
    /// - `ended`: all lanes have ended. It is the last event.
    pub r#type: String,
    /// The run, or the dedicated network.
    pub id: Option<u32>,
    /// For the log.
    pub message: Option<String>,
    /// Milliseconds.
    pub ms: Option<f64>,
    /// Runs of the trunk in this lane so far.
    pub runs: Option<u32>,
    /// For each graph, the mixed one first: names of its inputs, names of its outputs.
    pub signatures: Option<Vec<Vec<Vec<String>>>>,
}

impl Event {
    /// An event of a kind, without anything else.
    pub fn of(kind: &str) -> Self {
        let r#type = kind.to_owned();
        Self {
            r#type,
            id: None,
            message: None,
            ms: None,
            runs: None,
            signatures: None,
        }
    }
}

type Call = ThreadsafeFunction<Event, (), Event, napi::Status, false>;

/// The way to JavaScript, until it is closed.
pub struct Events(Mutex<Option<Call>>);

impl Events {
    /// Events go to this function. It keeps the process alive until `close`.
    pub fn to(function: &Function<'_, Event, ()>) -> Result<Self> {
        Ok(Self(Mutex::new(Some(
            function.build_threadsafe_function().build()?,
        ))))
    }

    /// Calls the function, later and in the order of these calls. A no-op once closed.
    pub fn send(&self, event: Event) {
        let call = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = &*call {
            // Where it is closing nobody listens any more.
            let _ = call.call(event, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Nothing is told any more, once what was told before has come.
    pub fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
