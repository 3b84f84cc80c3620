//! Which CPUs a thread may run on.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps the calling thread on `cpus`. Only for threads that this library owns.
pub(crate) fn pin_this_thread(cpus: &[u32]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu as usize)?;
    }
    // 0 is the calling thread.
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_is_not_there_is_an_error_and_one_that_is_holds_the_thread() {
        std::thread::spawn(|| {
            assert!(pin_this_thread(&[1000]).is_err() && pin_this_thread(&[1 << 20]).is_err());
            let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
            let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
            pin_this_thread(&[first as u32]).unwrap();
            let now = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
            assert_eq!((0..64).filter(|cpu| now.is_set(*cpu).unwrap()).collect::<Vec<_>>(), [first]);
        })
        .join()
        .unwrap();
    }
}
