//! libhypeman: the C ABI over hypeman-core. cbindgen makes include/hypeman.h of this crate, so its doc comments are
//! written for a reader of C.
//!
//! Objects come in as `Option<&T>` and leave as `Option<Box<T>>`, which are C's `const T *` and `T *` with NULL for
//! `None`; output parameters are `Option<&mut MaybeUninit<..>>`, since C need not have initialised them. Numbers
//! from C are integers, never Rust enums or `bool`, for which most values would be undefined behaviour.
// What C has to promise is said for C, at the head of the header: a Rust heading in each function would end up there.
#![allow(clippy::missing_safety_doc)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod border;
mod options;

// The order of the header, which cbindgen takes from here.
mod error;
mod status;
mod version;

mod call;
mod compression;
mod log;

mod handle;

mod instance;
mod instances;

mod inspection;
mod requests;
mod snapshot;
mod snapshots;

mod restore;

mod extents;
mod fork;
mod memory;

mod pager;

mod verification;
mod verify;
