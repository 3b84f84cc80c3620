//! The QEMU driver over QMP.
