//! How libhypeman.so is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS");
    if system.as_deref() == Ok("macos") {
        // Programs record this name, and find the library by their own rpath. It is never unloaded: it has thread-local variables.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libhypeman.dylib");
    }
    if system.as_deref() == Ok("linux") {
        // Programs record this name and so find any release that keeps the ABI.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libhypeman.so.0");
        // Threads of a handle and the fork handler may outlive a dlclose: the code must stay where it is.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
