//! Two threads that write to one place, for ThreadSanitizer to see.

static mut COUNT: u64 = 0;

fn main() {
    let count = || {
        for _ in 0..1_000_000 {
            // SAFETY: none, which is the defect.
            unsafe { COUNT += 1 };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(count);
        scope.spawn(count);
    });
}
