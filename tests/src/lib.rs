//! What the tests of behaviour share: fixtures, cases and their comparison, a guest of our own, and real VMs to run
//! it in. Panics freely: it is only ever part of a test.
#![allow(clippy::missing_panics_doc)]

pub mod api;
pub mod case;
pub mod cloud_hypervisor;
pub mod compare;
pub mod firecracker;
pub mod fixture;
pub mod fuzz;
pub mod guest;
pub mod jail;
pub mod language;
pub mod qmp;
pub mod report;
pub mod scripted;
pub mod vendor;
pub mod vm;
