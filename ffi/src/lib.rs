//! hypeman-ffi
