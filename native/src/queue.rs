//! Runs that wait for a lane, in the order in which they came; which of them run; and how either is given up. Lanes that
//! find none help those that run (`help.rs`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ort::session::RunOptions;

use crate::batch::Batch;
use crate::help::Offer;

/// A lane that has helped looks so long for more to do before it sleeps: what lies between two slots is shorter, and
/// waking a thread takes as long.
const PATIENCE: Duration = Duration::from_micros(100);

/// A batch, and what the answer is called.
pub struct Job {
    /// Its number, chosen by the caller.
    pub id: u32,
    /// What is run.
    pub batch: Batch,
    /// By these a run is ended from another thread.
    pub options: Arc<RunOptions>,
}

/// What a lane does next.
pub enum Work {
    /// Its own run.
    Run(Job),
    /// A part of another lane's.
    Help(Arc<Offer>),
}

struct State {
    /// For the first lane that is free.
    any: VecDeque<Job>,
    /// For one lane each.
    own: Vec<VecDeque<Job>>,
    running: HashMap<u32, Arc<RunOptions>>,
    /// Work of lanes that run.
    offers: Vec<Arc<Offer>>,
    /// Lanes that sleep.
    asleep: usize,
    closed: bool,
}

impl State {
    /// The next job for a lane: its own first.
    fn job_of(&mut self, lane: usize) -> Option<Job> {
        self.own[lane].pop_front().or_else(|| self.any.pop_front())
    }
}

/// The queue of all lanes.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Counts what may give a lane something to do.
    changes: AtomicUsize,
    /// Lanes that have nothing to do.
    waiting: AtomicUsize,
}

impl Queue {
    /// An empty queue of so many lanes.
    pub fn new(lanes: usize) -> Self {
        let own = std::iter::repeat_with(VecDeque::new).take(lanes).collect();
        let state = State {
            any: VecDeque::new(),
            own,
            running: HashMap::new(),
            offers: Vec::new(),
            asleep: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            changes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds a job, for one lane where that is given. False where the queue is closed or has no such lane.
    pub fn push(&self, job: Job, lane: Option<usize>) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        match lane {
            None => state.any.push_back(job),
            Some(lane) => match state.own.get_mut(lane) {
                Some(own) => own.push_back(job),
                None => return false,
            },
        }
        self.tell(&state);
        true
    }

    /// What a lane does next: a job runs from now on. None when the queue is closed and nothing is left for the lane.
    ///
    /// @param helped the lane has just helped another, and others may offer more
    pub fn take(&self, lane: usize, helped: bool) -> Option<Work> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let work = self.wait(lane, helped);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        work
    }

    fn wait(&self, lane: usize, helped: bool) -> Option<Work> {
        let patience = helped.then(|| Instant::now() + PATIENCE);
        let mut state = self.state();
        loop {
            if let Some(job) = state.job_of(lane) {
                state.running.insert(job.id, Arc::clone(&job.options));
                return Some(Work::Run(job));
            }
            if let Some(offer) = state.offers.iter().find(|offer| offer.is_open()) {
                offer.enter();
                return Some(Work::Help(Arc::clone(offer)));
            }
            if state.closed {
                return None;
            }
            let seen = self.changes.load(Ordering::Relaxed);
            if !state.running.is_empty() && patience.is_some_and(|until| Instant::now() < until) {
                drop(state);
                while self.changes.load(Ordering::Relaxed) == seen
                    && patience.is_some_and(|until| Instant::now() < until)
                {
                    std::hint::spin_loop();
                }
                state = self.state();
                continue;
            }
            state.asleep += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            state.asleep -= 1;
        }
    }

    /// Lanes that have nothing to do.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lets waiting lanes help, until `withdraw`.
    pub fn offer(&self, offer: &Arc<Offer>) {
        let mut state = self.state();
        state.offers.push(Arc::clone(offer));
        self.tell(&state);
    }

    /// From now on nobody begins to help.
    pub fn withdraw(&self, offer: &Arc<Offer>) {
        self.state()
            .offers
            .retain(|other| !Arc::ptr_eq(other, offer));
    }

    /// Tells waiting lanes that there is something new.
    fn tell(&self, state: &State) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        if state.asleep > 0 {
            self.changed.notify_all();
        }
    }

    /// A job no longer runs.
    pub fn done(&self, id: u32) {
        self.state().running.remove(&id);
    }

    /// Gives a job up: the one that is returned never began. One that runs is ended at its next operator, and its lane
    /// answers that it failed.
    pub fn cancel(&self, id: u32) -> Option<Job> {
        let mut state = self.state();
        if let Some(options) = state.running.get(&id) {
            // It can fail for want of options only.
            let _ = options.terminate();
            return None;
        }
        let State { any, own, .. } = &mut *state;
        for waiting in std::iter::once(any).chain(own) {
            if let Some(at) = waiting.iter().position(|job| job.id == id) {
                return waiting.remove(at);
            }
        }
        None
    }

    /// Takes no further jobs. Lanes end when they have run what is there.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.tell(&state);
    }

    /// Closes, gives up what waits and ends what runs.
    pub fn abort(&self) {
        let mut state = self.state();
        state.closed = true;
        let mut waiting: Vec<Job> = state.any.drain(..).collect();
        waiting.extend(state.own.iter_mut().flat_map(|own| own.drain(..)));
        for options in state.running.values() {
            let _ = options.terminate();
        }
        self.tell(&state);
        drop(state);
        // Jobs give their rows back, which takes another lock.
        drop(waiting);
    }
}
