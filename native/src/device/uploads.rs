//! Rows on their way to the device: a thread copies them, one after the other, so that JavaScript waits for no device.
//!
//! The order matters. An adapter row that is given back while its content is on its way may be given to another row of
//! the bank: what is copied later is that one's.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::bank::Upload;

/// The way to the thread.
#[derive(Default)]
pub struct Uploads(Mutex<Option<Sender<(u32, Upload)>>>);

impl Uploads {
    /// Opens the way; the thread takes what comes out of it.
    pub fn open(&self) -> Receiver<(u32, Upload)> {
        let (sender, receiver) = channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Sends a row, under a number by which it is answered. False where no thread takes it.
    pub fn push(&self, id: u32, upload: Upload) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender
            .as_ref()
            .is_some_and(|sender| sender.send((id, upload)).is_ok())
    }

    /// The thread ends when it has copied what is on its way.
    pub fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
