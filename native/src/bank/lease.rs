//! The rows of one batch, kept as they are while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Bank;
use super::rows::AdapterRows;
use crate::head::Head;
use crate::session::Graph;

/// A row of a lease.
pub struct Held {
    /// Its head.
    pub head: Arc<Head>,
    /// Its adapter.
    pub adapter: AdapterRows,
}

/// The rows of one batch, which stay what they are until this is dropped.
pub struct Lease {
    pub(super) bank: Arc<Bank>,
    pub(super) rows: BTreeMap<i64, Held>,
    pub(super) dedicated: Option<Arc<Graph>>,
}

impl Lease {
    /// The adapter, where the whole batch has one: its rows differ in their heads at most.
    pub fn only(&self) -> Option<AdapterRows> {
        let mut rows = self.rows.keys().map(|&row| self.adapter_rows(row));
        let first = rows.next()?;
        rows.all(|other| other == first).then_some(first)
    }

    /// The adapter rows of a row of the batch.
    pub fn adapter_rows(&self, row: i64) -> AdapterRows {
        self.rows[&row].adapter
    }

    /// The network of the only row, where it had one.
    pub fn dedicated(&self) -> Option<&Graph> {
        self.dedicated.as_deref()
    }

    /// The head of a row of the batch.
    pub fn head(&self, row: i64) -> &Head {
        &self.rows[&row].head
    }

    /// The rows of the batch and their heads.
    pub fn heads(&self) -> impl Iterator<Item = (i64, &Head)> {
        self.rows
            .iter()
            .map(|(row, held)| (*row, held.head.as_ref()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut rows = self.bank.rows();
        for &row in self.rows.keys() {
            let row = row as usize;
            rows.entries[row].leases -= 1;
            self.bank.tidy(row, &mut rows);
        }
    }
}
