//! Lanes that wait help those that run: the units of a slot's work are taken by whoever is free
//! (docs/decisions/0029-lanes-that-wait-help.md). So a lone image is answered sooner, and a machine whose lanes are all
//! busy runs as if there were no help.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::yield_now;

use crate::failure::Failure;
use crate::queue::Queue;

thread_local! {
    /// The queue of the lane that this thread is.
    static QUEUE: RefCell<Option<Arc<Queue>>> = const { RefCell::new(None) };
}

/// From now on what this thread shares is offered to the lanes that wait at the queue.
pub fn among(queue: Arc<Queue>) {
    QUEUE.set(Some(queue));
}

/// Threads that can work on what this one shares, itself included.
pub fn hands() -> usize {
    QUEUE.with_borrow(|queue| 1 + queue.as_ref().map_or(0, |queue| queue.waiting()))
}

/// Calls `body` once with each number below `units`, in this thread and in those that wait; returns when all calls have.
pub fn share(units: usize, body: &(dyn Fn(usize) + Sync)) -> Result<(), Failure> {
    let offer = Arc::new(Offer::new(units, body));
    let queue = QUEUE.with_borrow(Option::clone);
    if let Some(queue) = &queue {
        queue.offer(&offer);
    }
    offer.work();
    if let Some(queue) = &queue {
        queue.withdraw(&offer);
    }
    offer.finish()
}

/// Work that is shared: calls of one function, which whoever comes takes one by one.
pub struct Offer {
    /// Of whoever made the offer, which stays until `finish` returns. Nobody calls it afterwards.
    body: *const (dyn Fn(usize) + Sync),
    units: usize,
    /// The next call.
    next: AtomicUsize,
    /// Threads that help.
    helpers: AtomicUsize,
    panicked: AtomicBool,
}

// SAFETY: the function may be called by several threads, and is there as long as they call it (`finish`).
unsafe impl Send for Offer {}
// SAFETY: as above.
unsafe impl Sync for Offer {}

impl Offer {
    fn new<'a>(units: usize, body: &'a (dyn Fn(usize) + Sync + 'a)) -> Self {
        let body: *const (dyn Fn(usize) + Sync + 'a) = body;
        Self {
            // SAFETY: only the lifetime changes, and `share` does not return while anybody may call the function.
            body: unsafe {
                std::mem::transmute::<
                    *const (dyn Fn(usize) + Sync + 'a),
                    *const (dyn Fn(usize) + Sync + 'static),
                >(body)
            },
            units,
            next: AtomicUsize::new(0),
            helpers: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        }
    }

    /// Whether calls are left to take.
    pub fn is_open(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.units
    }

    /// A thread is about to help. Called under the queue's lock and while the offer is in the queue.
    pub fn enter(&self) {
        self.helpers.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes calls until none are left, for a thread that entered.
    pub fn help(&self) {
        self.work();
        self.helpers.fetch_sub(1, Ordering::Release);
    }

    fn work(&self) {
        loop {
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            if unit >= self.units {
                return;
            }
            // SAFETY: whoever made the offer waits for this thread.
            let body = unsafe { &*self.body };
            if catch_unwind(AssertUnwindSafe(|| body(unit))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Waits for those who help. The offer is in no queue any more, so nobody enters.
    fn finish(&self) -> Result<(), Failure> {
        /// Looks before the thread lets others have its core: about as long as a unit of work takes.
        const LOOKS: usize = 2000;
        let mut looks = 0;
        while self.helpers.load(Ordering::Acquire) > 0 {
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
            } else {
                yield_now();
            }
        }
        if self.panicked.load(Ordering::Relaxed) {
            Err("the operator panicked".to_owned())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread::{JoinHandle, spawn};

    use super::*;
    use crate::queue::Work;

    /// A queue, and lanes that wait at it and help.
    fn waiting(lanes: usize) -> (Arc<Queue>, Vec<JoinHandle<()>>) {
        let queue = Arc::new(Queue::new(lanes + 1));
        let threads = (0..lanes)
            .map(|lane| {
                let queue = Arc::clone(&queue);
                spawn(move || {
                    let mut helped = false;
                    while let Some(Work::Help(offer)) = queue.take(lane, helped) {
                        offer.help();
                        helped = true;
                    }
                })
            })
            .collect();
        while queue.waiting() < lanes {
            yield_now();
        }
        among(Arc::clone(&queue));
        (queue, threads)
    }

    fn end(queue: &Queue, threads: Vec<JoinHandle<()>>) {
        queue.close();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn waiting_lanes_take_part_and_each_unit_is_done_once() {
        let (queue, threads) = waiting(2);
        assert_eq!(hands(), 3);
        // Ends only if three threads are in it at once.
        let together = Barrier::new(3);
        for _ in 0..100 {
            let done: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
            share(done.len(), &|unit| {
                if unit < 3 {
                    together.wait();
                }
                done[unit].fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        }
        end(&queue, threads);
    }

    #[test]
    fn without_lanes_that_wait_the_thread_does_all() {
        assert_eq!(hands(), 1);
        let done = AtomicUsize::new(0);
        share(7, &|unit| {
            done.fetch_add(unit, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(done.into_inner(), 21);
    }

    #[test]
    fn a_unit_that_panics_fails_the_run_and_no_lane_ends() {
        let (queue, threads) = waiting(1);
        let together = Barrier::new(2);
        let outcome = share(2, &|_| {
            together.wait();
            panic!("on purpose");
        });
        assert_eq!(outcome, Err("the operator panicked".to_owned()));
        assert_eq!(share(1, &|_| ()), Ok(()));
        end(&queue, threads);
    }
}
