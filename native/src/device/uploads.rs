//! Rows on their way to the device: a thread copies them, one after the other, so that JavaScript waits for no device.
//!
//! The order matters. An adapter row that is given back while its content is on its way may be given to another row of
//! the bank: what is copied later is that one's.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bank::Upload;

/// The way to the thread.
#[derive(Default)]
pub struct Uploads(Mutex<Way>);

#[derive(Default)]
enum Way {
    #[default]
    Unopened,
    Open(Sender<(u32, Upload)>),
    /// For good: lanes that were told to end while they opened the trunk wait for nothing.
    Closed,
}

impl Uploads {
    fn way(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the way; the thread takes what comes out of it: nothing where it is closed already.
    pub fn open(&self) -> Receiver<(u32, Upload)> {
        let (sender, receiver) = channel();
        let mut way = self.way();
        if matches!(*way, Way::Unopened) {
            *way = Way::Open(sender);
        }
        receiver
    }

    /// Sends a row, under a number by which it is answered. Where no thread takes it the row is dropped.
    pub fn push(&self, id: u32, upload: Upload) {
        if let Way::Open(sender) = &*self.way() {
            let _ = sender.send((id, upload));
        }
    }

    /// The thread ends when it has copied what is on its way.
    pub fn close(&self) {
        *self.way() = Way::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::Uploads;

    #[test]
    fn a_way_that_was_closed_before_it_is_opened_ends_its_thread() {
        let uploads = Uploads::default();
        uploads.close();
        assert!(uploads.open().recv().is_err());
    }
}
