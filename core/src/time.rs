/// The time of a call, always passed in by the adapter: core reads no clock.
///
/// Natively `mono_us` comes from the operating system's monotonic clock. Workers have none across requests, so
/// there both fields come from the wall clock and core must tolerate steps backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// Microseconds since an arbitrary origin of this process; never compared between processes.
    pub mono_us: u64,
}
