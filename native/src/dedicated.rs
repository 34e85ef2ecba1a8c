//! Dedicated networks: a domain's own graph, adapter and trunk merged, beside the trunk's two.
//!
//! They are opened, and tried on one image, by a thread that serves no run and has a lower priority, so that neither a
//! lane nor JavaScript waits for it. A network that is opened belongs to nobody until `adopt` gives it to the row that
//! it was made of. The row has it until its content changes (`bank.rs`), and runs keep it until they end.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ort::session::RunOptions;
use ort::session::builder::LoadCanceler;
use ort::value::{TensorRef, TensorRefMut};

use crate::bank::{Bank, Content};
use crate::batch::{Borrowed, BorrowedMut};
use crate::events::{Event, Events};
use crate::failure::{Failure, text};
use crate::lanes::words;
use crate::memory::give_back_freed;
use crate::session::{Feeds, Graph, On, Source, environment};
use crate::trunk::{FEATURES, Input, PIXELS};

/// What the thread's nice value is raised by: beside three busy threads on two cores it gets a fifth of a core.
const NICE: i32 = 5;

/// A network to be opened.
pub struct Order {
    /// Its number, chosen by the caller.
    pub id: u32,
    /// What it was made of.
    pub content: Content,
    /// The graph, as the bytes of a file.
    pub network: Borrowed<u8>,
    /// One image.
    pub pixels: Borrowed<u8>,
    /// What the network makes of it, `[F]`, written.
    pub features: BorrowedMut<f32>,
}

/// What the thread does next.
pub enum Task {
    /// Opens a network; an event answers it.
    Open(Order),
    /// Lets a network go. A run that has it keeps it to its end.
    Drop(Arc<Graph>),
}

#[derive(Default)]
struct State {
    /// To the thread. None before the first order, and once closed.
    tasks: Option<Sender<Task>>,
    closed: bool,
    /// Ends the opening under way.
    opening: Option<LoadCanceler>,
    /// Opened, and nobody's yet.
    opened: HashMap<u32, (Content, Arc<Graph>)>,
}

/// The dedicated networks of one start.
pub struct Dedicated {
    bank: Arc<Bank>,
    input: Input,
    /// Path of ONNX Runtime's library, which is loaded already.
    library: String,
    /// Threads of one run.
    threads: usize,
    state: Mutex<State>,
}

impl Dedicated {
    /// None yet. `input` and `threads` are the trunk's.
    pub fn new(bank: Arc<Bank>, input: Input, library: String, threads: usize) -> Self {
        let state = Mutex::default();
        Self {
            bank,
            input,
            library,
            threads,
            state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an order; `spawn` starts the thread, which calls `serve`, at the first one. False once closed.
    pub fn order(
        &self,
        order: Order,
        spawn: impl FnOnce(Receiver<Task>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut state = self.state();
        if state.closed {
            return Ok(false);
        }
        let tasks = match &state.tasks {
            Some(tasks) => tasks,
            None => {
                let (sender, receiver) = channel();
                spawn(receiver)?;
                state.tasks.insert(sender)
            }
        };
        Ok(tasks.send(Task::Open(order)).is_ok())
    }

    /// Gives an opened network to the row that it was made of. False where the row's content is another by now.
    pub fn adopt(&self, id: u32) -> bool {
        let Some((content, graph)) = self.state().opened.remove(&id) else {
            return false;
        };
        match self.bank.dedicate(content, graph) {
            Ok(former) => {
                former.into_iter().for_each(|graph| self.let_go(graph));
                true
            }
            Err(graph) => {
                self.let_go(graph);
                false
            }
        }
    }

    /// Lets an opened network go that `adopt` did not take.
    pub fn discard(&self, id: u32) {
        let opened = self.state().opened.remove(&id);
        if let Some((_, graph)) = opened {
            self.let_go(graph);
        }
    }

    /// From now on the row's runs are the trunk's again.
    pub fn withdraw(&self, row: usize) {
        if let Some(graph) = self.bank.undedicate(row) {
            self.let_go(graph);
        }
    }

    /// Frees a network in the thread: that takes milliseconds.
    fn let_go(&self, graph: Arc<Graph>) {
        if let Some(tasks) = &self.state().tasks {
            let _ = tasks.send(Task::Drop(graph));
        }
    }

    /// Takes no further orders, and gives up those that are there. The thread ends soon.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.tasks = None;
        state.opened.clear();
        if let Some(opening) = &state.opening {
            let _ = opening.cancel();
        }
    }

    /// The thread's life.
    pub fn serve(&self, tasks: &Receiver<Task>, events: &Events) {
        if self.threads == 1 {
            lower_priority();
        }
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Drop(graph) => {
                    drop(graph);
                    give_back_freed();
                }
                Task::Open(order) => events.send(self.open(order)),
            }
        }
    }

    fn open(&self, mut order: Order) -> Event {
        let (id, start) = (order.id, Instant::now());
        let opened = catch_unwind(AssertUnwindSafe(|| self.tried(&mut order)));
        self.state().opening = None;
        give_back_freed();
        match opened.unwrap_or_else(|panic| Err(words(&*panic))) {
            Ok(graph) => {
                let mut state = self.state();
                if !state.closed {
                    state.opened.insert(id, (order.content, Arc::new(graph)));
                }
                let ms = Some(start.elapsed().as_secs_f64() * 1e3);
                Event {
                    id: Some(id),
                    ms,
                    ..Event::of("dedicated")
                }
            }
            Err(message) => Event {
                id: Some(id),
                message: Some(message),
                ..Event::of("undedicated")
            },
        }
    }

    /// Opens a network and runs it once.
    fn tried(&self, order: &mut Order) -> Result<Graph, Failure> {
        let environment = environment(self.library.as_ref())?;
        let source = Source::Memory(order.network.get(), &|canceler| {
            let mut state = self.state();
            if state.closed {
                return Err("the lanes are ending".to_owned());
            }
            state.opening = Some(canceler);
            Ok(())
        });
        let name = FEATURES;
        let on = On {
            threads: self.threads,
            device: None,
        };
        let graph = Graph::open(environment, source, on, name)?;
        let pixels_name = PIXELS.to_owned();
        if graph.inputs() != [pixels_name.to_string_lossy()] || graph.outputs() != [name] {
            return Err(format!("its inputs are {:?}", graph.inputs()));
        }
        let Input { height, width } = self.input;
        let pixels = TensorRef::from_array_view(([1, height, width, 3], order.pixels.get()))
            .map_err(text)?;
        let features = order.features.get();
        let mut output =
            TensorRefMut::from_array_view_mut(([1, features.len()], features)).map_err(text)?;
        let mut feeds = Feeds::default();
        feeds.add(&pixels_name, &*pixels);
        graph.run(&RunOptions::new().map_err(text)?, &feeds, &mut output)?;
        drop(output);
        Ok(graph)
    }
}

/// Of this thread alone, where the system can do that. Threads that a session makes would inherit it.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: changes the calling thread's nice value and nothing else: a thread is a process of its own to this call.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = NICE;
}
