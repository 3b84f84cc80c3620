//! A look at what was freed, for Miri to see.

fn main() {
    let number = Box::new(0);
    let place: *const i32 = &*number;
    drop(number);
    // SAFETY: none, which is the defect.
    std::process::exit(unsafe { *place });
}
