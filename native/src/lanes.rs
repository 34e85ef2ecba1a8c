//! The lanes: threads that run the trunk side by side, each one batch at a time, all on one session.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crate::bank::{Bank, Upload};
use crate::dedicated::{Dedicated, Order};
use crate::device::Uploads;
use crate::events::{Event, Events};
use crate::failure::Failure;
use crate::faults::{Fault, Faults};
use crate::help;
use crate::queue::{Job, Queue, Work};
use crate::trunk::{Files, Input, Place, Trunk};

/// How the lanes are made.
pub struct Plan {
    /// The library and the graphs.
    pub files: Files,
    /// Sizes of the input.
    pub input: Input,
    /// Lanes.
    pub lanes: usize,
    /// Threads of one run.
    pub threads: usize,
    /// The device that has the bank; None for the process's own memory, and the CPU.
    pub place: Option<Place>,
    /// What a test injects.
    pub faults: Faults,
}

/// All lanes of one start.
pub struct Lanes {
    /// Runs go in here.
    pub queue: Arc<Queue>,
    /// Dedicated networks.
    pub dedicated: Dedicated,
    /// Rows on their way to the device.
    pub uploads: Uploads,
    events: Events,
    /// Threads that have not ended, those that open graphs included.
    alive: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Lanes {
    /// Opens the graphs in a thread, which starts the lanes. All that happens is told by events.
    pub fn start(plan: Plan, bank: Arc<Bank>, events: Events) -> Arc<Self> {
        let (library, threads) = (plan.files.library.clone(), plan.threads);
        let lanes = Arc::new(Self {
            queue: Arc::new(Queue::new(plan.lanes)),
            dedicated: Dedicated::new(Arc::clone(&bank), plan.input, library, threads),
            uploads: Uploads::default(),
            events,
            alive: AtomicUsize::new(0),
            threads: Mutex::new(Vec::new()),
        });
        let own = Arc::clone(&lanes);
        lanes.spawn("facet-open", move || own.open(plan, bank));
        lanes
    }

    /// Starts a thread. Where that fails a lane is lost.
    fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce() + Send + 'static) {
        self.alive.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.try_spawn(name, body) {
            drop(Alive {
                lanes: self,
                why: Some(error.to_string()),
                id: None,
            });
        }
    }

    /// Starts a thread that counts as alive already.
    fn try_spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = Builder::new().name(name.to_owned()).spawn(body)?;
        self.threads().push(thread);
        Ok(())
    }

    /// Opens a dedicated network; an event answers it. False where the lanes are ending.
    pub fn open_dedicated(self: &Arc<Self>, order: Order) -> io::Result<bool> {
        self.dedicated.order(order, |tasks| {
            let own = Arc::clone(self);
            self.alive.fetch_add(1, Ordering::SeqCst);
            let started = self.try_spawn("facet-dedicated", move || {
                let _alive = Alive {
                    lanes: &own,
                    why: None,
                    id: None,
                };
                own.dedicated.serve(&tasks, &own.events);
            });
            // The lanes are alive, so this is not the last one.
            if started.is_err() {
                self.alive.fetch_sub(1, Ordering::SeqCst);
            }
            started
        })
    }

    /// Takes no further runs and orders. The lanes end when they have answered the runs that are there.
    pub fn close(&self) {
        self.queue.close();
        self.dedicated.close();
        self.uploads.close();
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, plan: Plan, bank: Arc<Bank>) {
        let _alive = Alive {
            lanes: self,
            why: None,
            id: None,
        };
        let Plan {
            files,
            input,
            lanes,
            threads,
            place,
            faults,
        } = plan;
        faults.opening(&files);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Trunk::open(&files, bank, input, threads, place.as_ref())
        }));
        match opened.unwrap_or_else(|panic| Err(words(&*panic))) {
            Err(message) => {
                self.queue.close();
                self.events.send(Event {
                    message: Some(message),
                    ..Event::of("unopened")
                });
            }
            Ok(trunk) => {
                let signatures = trunk.signatures().into_iter().map(Vec::from).collect();
                let (trunk, faults) = (Arc::new(trunk), Arc::new(faults));
                if place.is_some() {
                    let own = (Arc::clone(self), Arc::clone(&trunk), Arc::clone(&faults));
                    let uploads = self.uploads.open();
                    self.spawn("facet-upload", move || {
                        own.0.upload(&uploads, own.1, &own.2);
                    });
                }
                for lane in 0..lanes {
                    let own = (Arc::clone(self), Arc::clone(&trunk), Arc::clone(&faults));
                    self.spawn(&format!("facet-lane-{lane}"), move || {
                        // Where a run has threads of its own, they are all that it is to have.
                        if threads == 1 {
                            help::among(Arc::clone(&own.0.queue));
                        }
                        own.0.serve(lane, own.1, &own.2)
                    });
                }
                self.events.send(Event {
                    signatures: Some(signatures),
                    ..Event::of("opened")
                });
            }
        }
    }

    /// A lane's life: runs what is there until the queue is closed.
    fn serve(self: &Arc<Self>, lane: usize, trunk: Arc<Trunk>, faults: &Faults) {
        let ended = || Some("it ended outside of any run".to_owned());
        let mut alive = Alive {
            lanes: self,
            why: ended(),
            id: None,
        };
        // Dropped before `alive`: when the last lane has ended the graphs are gone.
        let trunk = trunk;
        let mut runs = 0;
        let mut helped = false;
        while let Some(work) = self.queue.take(lane, helped) {
            let Job {
                id,
                mut batch,
                options,
            } = match work {
                Work::Run(job) => job,
                Work::Help(offer) => {
                    offer.help();
                    helped = true;
                    continue;
                }
            };
            helped = false;
            alive.id = Some(id);
            let start = Instant::now();
            runs += 1;
            let fault = faults.next();
            if let Fault::Ends(why) = fault {
                alive.why = Some(why);
                return;
            }
            let run = || fault.or_else(|| trunk.run(&mut batch, &options));
            // A panic is a fault of this run, and the lane goes on.
            let outcome: Result<(), Failure> =
                catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(words(&*panic)));
            if let Some(why) = outcome.as_ref().err().and_then(|why| trunk.fatal(why)) {
                alive.why = Some(why);
                return;
            }
            // Before the answer: who hears it may write the rows anew.
            drop(batch);
            self.queue.done(id);
            alive.id = None;
            let event = match outcome {
                Ok(()) => {
                    let ms = Some(start.elapsed().as_secs_f64() * 1e3);
                    Event {
                        id: Some(id),
                        ms,
                        runs: Some(runs),
                        ..Event::of("done")
                    }
                }
                Err(message) => Event {
                    id: Some(id),
                    message: Some(message),
                    ..Event::of("failed")
                },
            };
            self.events.send(event);
        }
        alive.why = None;
    }

    /// The life of the thread that copies rows to the device.
    fn upload(&self, uploads: &Receiver<(u32, Upload)>, trunk: Arc<Trunk>, faults: &Faults) {
        let mut alive = Alive {
            lanes: self,
            why: Some("no row can be copied to the device any more".to_owned()),
            id: None,
        };
        // Dropped before `alive`, as in a lane.
        let trunk = trunk;
        while let Ok((id, upload)) = uploads.recv() {
            alive.id = Some(id);
            let copy = || faults.next_upload().or_else(|| trunk.upload(&upload));
            let outcome =
                catch_unwind(AssertUnwindSafe(copy)).unwrap_or_else(|panic| Err(words(&*panic)));
            if let Some(why) = outcome.as_ref().err().and_then(|why| trunk.fatal(why)) {
                alive.why = Some(why);
                return;
            }
            alive.id = None;
            self.events.send(Event {
                id: Some(id),
                message: outcome.as_ref().err().cloned(),
                ..Event::of(if outcome.is_ok() { "written" } else { "failed" })
            });
        }
        alive.why = None;
    }

    /// Tells JavaScript that a run was given up before it began.
    pub fn given_up(&self, id: u32) {
        let message = Some("the run was cancelled before it began".to_owned());
        self.events.send(Event {
            id: Some(id),
            message,
            ..Event::of("failed")
        });
    }

    /// Ends everything now: what waits is dropped, what runs stops at its next operator, and nothing is told any more.
    /// Returns when all threads have ended.
    pub fn end_now(&self) {
        self.events.close();
        self.queue.abort();
        self.dedicated.close();
        self.uploads.close();
        loop {
            // The thread that opens the graphs may add some.
            let Some(thread) = self.threads().pop() else {
                return;
            };
            let _ = thread.join();
        }
    }
}

/// A thread that has not ended. Its end is told, whatever ends it.
struct Alive<'a> {
    lanes: &'a Lanes,
    /// Why it is out of order that this thread ends now.
    why: Option<String>,
    /// The run that it is in.
    id: Option<u32>,
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        let Lanes {
            queue,
            events,
            alive,
            ..
        } = self.lanes;
        if let Some(id) = self.id {
            queue.done(id);
        }
        if let Some(why) = self.why.take() {
            events.send(Event {
                id: self.id,
                message: Some(why),
                ..Event::of("lost")
            });
        }
        if alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            // What waits is run by nobody.
            queue.abort();
            events.send(Event::of("ended"));
            events.close();
        }
    }
}

/// What a panic says.
pub fn words(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the native runtime panicked: {}", text.unwrap_or_default())
}
