//! What is known of each row: its state, its leases, its head, and which adapter row is its own.

use std::sync::Arc;

use super::tensors::Span;
use crate::failure::Failure;
use crate::head::Head;
use crate::session::Graph;

/// What may be done with a row.
pub enum State {
    /// It holds nothing.
    Empty,
    /// Not to be leased yet. For a device, the bytes of each tensor of its own, which go there later.
    Written(Head, Vec<Vec<u8>>),
    /// Its tensors are on their way to the device.
    Uploading(Head),
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
#[derive(Clone, Copy, PartialEq, Eq)]
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
    /// The adapter rows of its own; the base's where it has none.
    pub rows: AdapterRows,
    /// Tensors that are there.
    pub own: usize,
}

/// Adapter rows of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdapterRows {
    /// Of its affine row.
    pub affine: usize,
    /// Of its matrices.
    pub matrices: usize,
}

impl AdapterRows {
    /// The adapter row that has this tensor.
    pub fn of(self, tensor: usize) -> usize {
        if tensor == 0 {
            self.affine
        } else {
            self.matrices
        }
    }
}

/// The rows, which are made when they are first written.
pub struct Rows {
    /// Those that were ever written.
    pub entries: Vec<Row>,
    capacity: usize,
    affine: Places,
    /// Those of matrices, where they have numbers of their own.
    matrices: Option<Places>,
}

/// Numbers of adapter rows, of which the base has the first for good.
struct Places {
    count: usize,
    /// Those that are free, of those below `next`. None has been used from there on.
    free: Vec<usize>,
    next: usize,
}

impl Places {
    fn new(count: usize) -> Self {
        Self {
            count,
            free: Vec::new(),
            next: 1,
        }
    }

    fn take(&mut self, what: &str) -> Result<usize, Failure> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        if self.next >= self.count {
            return Err(format!("all {} {what} of the bank are in use", self.count));
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    fn give_back(&mut self, place: usize) {
        if place > 0 {
            self.free.push(place);
        }
    }
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
    /// So many empty rows. Without a number of their own for matrices they are where the affine row is.
    pub fn new(capacity: usize, span: Span) -> Self {
        Self {
            entries: Vec::new(),
            capacity,
            affine: Places::new(span.affine),
            matrices: span.matrices.map(Places::new),
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

    /// Adapter rows for a row that has so many tensors itself.
    pub fn take(&mut self, row: usize, own: usize) -> Result<Adapter, Failure> {
        let none = AdapterRows::default();
        if row == 0 || own == 0 {
            return Ok(Adapter { rows: none, own });
        }
        let affine = self.affine.take("adapters")?;
        let matrices = match &mut self.matrices {
            _ if own == 1 => Ok(none.matrices),
            None => Ok(affine),
            Some(places) => places.take("rows of matrices"),
        };
        let matrices = matrices.inspect_err(|_| self.affine.give_back(affine))?;
        let rows = AdapterRows { affine, matrices };
        Ok(Adapter { rows, own })
    }

    /// Adapter rows that nobody has any more.
    pub fn give_back(&mut self, rows: AdapterRows) {
        self.affine.give_back(rows.affine);
        if let Some(places) = &mut self.matrices {
            places.give_back(rows.matrices);
        }
    }
}
