//! Sets short time slices for the threads of HTTP, so that they run soon after they become ready.
//!
//! The kernel (EEVDF) runs the thread with the earliest deadline. A thread with short slices therefore starts sooner,
//! without getting more CPU time; a response takes some microseconds.

use std::io;

/// The minimum of Linux, in nanoseconds. Kernels before 6.12 ignore it.
const SLICE_NS: u64 = 100_000;

/// Gives this thread short time slices. No privilege is needed.
///
/// # Errors
/// The kernel's error; the thread then keeps normal time slices.
pub(crate) fn take_short_ones() -> io::Result<()> {
    let mut attributes = attributes()?;
    // Keeps another scheduling policy with which the process was started.
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.sched_runtime = SLICE_NS;
    // No crate has this call.
    // SAFETY: 0 is this thread, and the kernel reads `size` bytes of `attributes`, which has them.
    #[expect(unsafe_code)]
    let status = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The scheduling attributes of this thread, including niceness.
fn attributes() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as u32;
    let mut attributes = libc::sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: 0 is this thread, and the kernel writes at most `size` bytes into `attributes`, which has them.
    #[expect(unsafe_code)]
    let status = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if status == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_short_where_the_kernel_knows_of_it_and_niceness_stays() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            take_short_ones().unwrap();
            let after = attributes().unwrap();
            assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
            // Zero if the kernel does not report time slices.
            let expected = if before.sched_runtime > 0 { SLICE_NS } else { 0 };
            assert_eq!(after.sched_runtime, expected);
        })
        .join()
        .unwrap();
    }
}
