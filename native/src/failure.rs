//! What is said of something that failed.

/// Why something failed, for the log.
pub type Failure = String;

/// An error's text in one line.
pub fn text(error: impl ToString) -> Failure {
    error.to_string().trim().to_owned()
}
