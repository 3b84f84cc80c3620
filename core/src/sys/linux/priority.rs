//! The priority of a thread: background work yields to the host and its guests.

/// Lowers the priority of the calling thread to background work, for as long as it lives.
///
/// Only for threads that this library owns: without privileges it cannot be raised again. The block layer follows
/// the nice value too. Only a hint: a refusal changes nothing.
pub(crate) fn lower_this_thread() {
    const BACKGROUND_NICE: libc::c_int = 10;
    // SAFETY: setpriority takes plain integers. 0 is the calling thread, whose nice value is per thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, BACKGROUND_NICE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice() -> i64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The fields after the name in parentheses start with the third; nice is the nineteenth.
        stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn only_the_calling_thread_becomes_nice() {
        let before = nice();
        let inside = std::thread::spawn(|| {
            lower_this_thread();
            nice()
        });
        assert_eq!(inside.join().unwrap(), before.max(10));
        assert_eq!(nice(), before);
    }
}
