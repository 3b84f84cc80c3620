//! Disks that are full, read-only, not ours, or that reflink. Each is a real file system, so most need root.

mod disk;
mod full;
mod reflink;
mod refused;
