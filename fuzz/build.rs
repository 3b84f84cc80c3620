//! The driver of the target `ffi`, which is in C: so the header is what it calls by.

fn main() {
    println!("cargo:rerun-if-changed=../tests/hostile/calls");
    println!("cargo:rerun-if-changed=../include");
    cc::Build::new()
        .file("../tests/hostile/calls/calls.c")
        .include("../include")
        .std("c11")
        .define("_GNU_SOURCE", None)
        .compile("calls");
}
