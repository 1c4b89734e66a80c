//! Why the store did not answer.

/// What became of a call that brought no answer. Which of them it was says nothing about whether the script ran: only
/// [`Refused`](StoreFailure::Refused) is the store's own word that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum StoreFailure {
    #[error("the store did not answer in time")]
    TimedOut,
    /// No connection, one that broke, or more waiting for it than may wait.
    #[error("the store cannot be reached")]
    Unreachable,
    /// An answer that is none of the protocol's, or none of the script's.
    #[error("the store's answer makes no sense")]
    Garbled,
    /// Credentials, rights, memory, a replica, a slot that is elsewhere: it answers, and will not do it.
    #[error("the store refused")]
    Refused,
}

impl StoreFailure {
    pub const ALL: [StoreFailure; 4] =
        [StoreFailure::TimedOut, StoreFailure::Unreachable, StoreFailure::Garbled, StoreFailure::Refused];

    /// As in a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            StoreFailure::TimedOut => "timed_out",
            StoreFailure::Unreachable => "unreachable",
            StoreFailure::Garbled => "garbled",
            StoreFailure::Refused => "refused",
        }
    }
}
