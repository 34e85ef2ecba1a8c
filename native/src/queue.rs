//! Runs that wait for a lane, in the order in which they came; which of them run; and how either is given up.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ort::session::RunOptions;

use crate::batch::Batch;

/// A batch, and what the answer is called.
pub struct Job {
    /// Its number, chosen by the caller.
    pub id: u32,
    /// What is run.
    pub batch: Batch,
    /// By these a run is ended from another thread.
    pub options: Arc<RunOptions>,
}

struct State {
    /// For the first lane that is free.
    any: VecDeque<Job>,
    /// For one lane each.
    own: Vec<VecDeque<Job>>,
    running: HashMap<u32, Arc<RunOptions>>,
    closed: bool,
}

/// The queue of all lanes.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// An empty queue of so many lanes.
    pub fn new(lanes: usize) -> Self {
        let own = std::iter::repeat_with(VecDeque::new).take(lanes).collect();
        let state = State {
            any: VecDeque::new(),
            own,
            running: HashMap::new(),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
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
        self.changed.notify_all();
        true
    }

    /// The next job of a lane, which runs from now on. None when the queue is closed and nothing is left for the lane.
    pub fn take(&self, lane: usize) -> Option<Job> {
        let mut state = self.state();
        loop {
            let job = match state.own[lane].pop_front() {
                Some(job) => Some(job),
                None => state.any.pop_front(),
            };
            if let Some(job) = job {
                state.running.insert(job.id, Arc::clone(&job.options));
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
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
        self.state().closed = true;
        self.changed.notify_all();
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
        drop(state);
        // Jobs give their rows back, which takes another lock.
        drop(waiting);
        self.changed.notify_all();
    }
}
