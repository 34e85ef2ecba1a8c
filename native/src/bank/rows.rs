//! What is known of each row: its state, its leases, its head, and which adapter row is its own.

use std::sync::Arc;

use crate::failure::Failure;
use crate::head::Head;
use crate::session::Graph;

/// What may be done with a row.
pub enum State {
    /// It holds nothing.
    Empty,
    /// Not to be leased yet.
    Written(Head),
    /// Can be leased.
    Ready(Arc<Head>),
}

/// What a row is to hold itself.
pub struct Extent {
    /// Tensors: so many of the first ones, none or the first or all.
    pub own: usize,
    /// Classes of its head.
    pub classes: usize,
    /// The weights of its head are in half precision.
    pub half_head: bool,
}

/// What a row holds, told from what it held before and will hold.
#[derive(Clone, Copy)]
pub struct Content {
    /// The row.
    pub row: usize,
    /// How often it had changed.
    pub change: u64,
}

/// A row of the bank.
pub struct Row {
    /// What may be done with it.
    pub state: State,
    /// How often it has changed.
    pub change: u64,
    /// Made of what it holds: runs the batches of this row alone, instead of the trunk.
    pub dedicated: Option<Arc<Graph>>,
    /// Leases that are not given back.
    pub leases: usize,
    /// Where its adapter is.
    pub adapter: Adapter,
}

/// Where a row's adapter is.
#[derive(Clone, Copy, Default)]
pub struct Adapter {
    /// The adapter row of its own; the base's where it has none.
    pub row: usize,
    /// Tensors that are there.
    pub own: usize,
}

impl Adapter {
    /// The adapter rows that a sample of it reads.
    pub fn rows(self) -> AdapterRows {
        let matrices = if self.own > 1 { self.row } else { 0 };
        AdapterRows {
            affine: self.row,
            matrices,
        }
    }
}

/// Adapter rows of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterRows {
    /// Of its affine row.
    pub affine: usize,
    /// Of its matrices.
    pub matrices: usize,
}

/// The rows, which are made when they are first written.
pub struct Rows {
    /// Those that were ever written.
    pub entries: Vec<Row>,
    capacity: usize,
    /// Adapter rows that are free, of those below `next`. None has been used from there on. What is in the matrices of
    /// all of them is zero.
    pub free: Vec<usize>,
    next: usize,
}

impl Row {
    /// From now on the row is in this state, and holds something else.
    pub fn turn(&mut self, state: State) {
        self.state = state;
        self.change += 1;
        self.dedicated = None;
    }
}

impl Rows {
    /// So many empty rows.
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            capacity,
            free: Vec::new(),
            next: 1,
        }
    }

    /// Sees to it that there is such a row.
    pub fn make(&mut self, row: usize) -> Result<(), Failure> {
        if row >= self.capacity {
            return Err(format!("the bank has no row {row}"));
        }
        while self.entries.len() <= row {
            self.entries.push(Row {
                state: State::Empty,
                change: 0,
                dedicated: None,
                leases: 0,
                adapter: Adapter::default(),
            });
        }
        Ok(())
    }

    /// An adapter row for a row; the base has the first one, for good.
    pub fn take(&mut self, row: usize, adapters: usize) -> Result<usize, Failure> {
        if row == 0 {
            return Ok(0);
        }
        if let Some(adapter) = self.free.pop() {
            return Ok(adapter);
        }
        if self.next >= adapters {
            return Err(format!("all {adapters} adapters of the bank are in use"));
        }
        self.next += 1;
        Ok(self.next - 1)
    }
}
