//! A small library in Rust, as a program may have one beside ours.

/// Panics and catches it, with its own copy of the standard library.
#[unsafe(no_mangle)]
pub extern "C" fn neighbour_catches_its_panic() -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    let caught = std::panic::catch_unwind(|| assert!(!std::hint::black_box(true)));
    i32::from(caught.is_err())
}
