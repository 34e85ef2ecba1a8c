//! The tensors of a bank row, as inputs of the graphs.

use std::ffi::CString;

/// An input of the graph for batches of one domain: a piece of a row's tensor, in another shape.
pub struct SingleInput {
    /// Name of the graph's input.
    pub name: CString,
    /// Its shape.
    pub dims: Vec<i64>,
    /// Place in the row's tensor, in elements.
    pub offset: usize,
}

/// One tensor of a row.
pub struct BankTensor {
    /// Name of the input of the graph for any domains.
    pub name: CString,
    /// Shape of one row.
    pub dims: Vec<i64>,
    /// The same numbers as inputs of the graph for one domain.
    pub single: Vec<SingleInput>,
}

impl BankTensor {
    /// Numbers of one row.
    pub fn elements(&self) -> usize {
        elements(&self.dims)
    }
}

/// How many adapter rows there are, the base's among them.
#[derive(Clone, Copy)]
pub struct Span {
    /// Affine rows.
    pub affine: usize,
    /// Rows of matrices, where they have numbers of their own: on a device, where a row takes its memory whether or not
    /// something is in it.
    pub matrices: Option<usize>,
}

/// Numbers of a tensor of this shape.
pub fn elements(dims: &[i64]) -> usize {
    dims.iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .product()
}
